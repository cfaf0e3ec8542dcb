// The system: ranks by load, links by time.
const fabric = { tiles: [], wires: [], legend: null };

function rankValues(view, layer) {
  if (state.metric === "compute") return row(viewKey(view) + ".rank_compute_s", layer);
  const load = row(viewKey(view) + ".rank_load", layer);
  const even = mean(load) || 1;
  return load.map((x) => x / even);
}
const rankText = (x) => state.metric === "compute" ? timeText(x) : fixed(x, 2) + " ×";
const linkSeconds = (view, layer) => row(viewKey(view) + ".link_s", layer);

function expertsOn(rank, view = state.view, layer = state.layer) {
  if (layer < 0) return null;
  const slots = row(viewKey(view) + ".expert_of_slot", layer);
  const found = [];
  report.rankOfSlot[view].forEach((r, slot) => {
    if (r === rank && slots[slot] >= 0) found.push(slots[slot]);
  });
  return found.sort((a, b) => a - b);
}

// An arrow of a given width as a polygon.
function arrow(wire, width) {
  const [, x1, y1, x2, y2] = wire;
  const far = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [ux, uy] = [(x2 - x1) / far, (y2 - y1) / far];
  const half = width / 2, head = Math.min(far * 0.4, Math.max(6, width * 0.8));
  const wing = Math.max(half * 1.35, half + 1.2);
  const at = (along, side) => `${(x1 + ux * along - uy * side).toFixed(1)},` +
    `${(y1 + uy * along + ux * side).toFixed(1)}`;
  return [at(0, -half), at(far - head, -half), at(far - head, -wing), at(far, 0),
    at(far - head, wing), at(far - head, half), at(0, half)].join(" ");
}

function buildMap() {
  const drawing = report.drawing;
  const svg = shape("svg", { viewBox: `0 0 ${drawing.width} ${drawing.height}`, role: "group",
    "aria-label": "Ranks and links of the system" });
  for (const [x, y, w, h, label] of drawing.boxes) {
    if (label) {
      svg.append(shape("rect", { x, y, width: w, height: h, rx: 10, class: "node" }));
      svg.append(shape("text", { x: x + 12, y: y + 18, class: "faint" }, label));
    } else svg.append(shape("rect", { x, y, width: w, height: h, rx: 4, class: "switch" }));
  }
  for (const wire of drawing.wires) {
    const made = shape("polygon", { class: "wire" });
    made.addEventListener("pointermove", (event) => showTip(event, linkSaid(wire[0])));
    made.addEventListener("pointerleave", hideTip);
    fabric.wires.push(made);
    svg.append(made);
  }
  const scale = 620 / drawing.width;
  drawing.tiles.forEach(([x, y, w, h], rank) => {
    const tile = shape("g", { class: "tile", role: "img" });
    tile.append(shape("rect", { x, y, width: w, height: h, rx: w / 9 }));
    const big = w >= 50;
    if (scale > 0.48) { // smaller text cannot be read; the tip and the table tell
      tile.append(shape("text", { x: x + w / 2, y: y + h * (big ? 0.36 : 0.42),
        "text-anchor": "middle", "font-size": big ? 12 : 10 }, rank));
      tile.append(shape("text", { x: x + w / 2, y: y + h * (big ? 0.7 : 0.78),
        "text-anchor": "middle", "font-size": big ? 14 : 10.5 }, ""));
    }
    tile.addEventListener("pointermove", (event) => showTip(event, rankSaid(rank)));
    tile.addEventListener("pointerleave", hideTip);
    tile.addEventListener("focus", () => { byId("map-said").textContent = rankSaid(rank); });
    tile.addEventListener("click", () => { byId("map-said").textContent = rankSaid(rank); });
    fabric.tiles.push(tile);
    svg.append(tile);
  });
  roving(svg, fabric.tiles, drawing.across, null);
  if (drawing.width <= 620) byId("fabric").style.maxWidth = drawing.width * 1.15 + "px";
  svg.style.minWidth = Math.min(drawing.width * 0.6, 640) + "px";
  byId("fabric").append(svg);
}

function rankSaid(rank) {
  const load = row(viewKey() + ".rank_load", state.layer);
  const compute = row(viewKey() + ".rank_compute_s", state.layer);
  const held = expertsOn(rank);
  const even = mean(load) || 1;
  const lines = [`Rank ${rank}: ${fixed(load[rank] / even, 2)} × the mean load`,
    `computes ${timeText(compute[rank])}`];
  if (held) lines.push(`${held.length} experts: ${held.slice(0, 24).join(", ")}` +
    (held.length > 24 ? ", …" : ""));
  return lines.join("\n");
}

function linkSaid(link) {
  const seconds = linkSeconds(state.view, state.layer)[link];
  return `Link ${linkName(link)}\n${bytesText(seconds * report.bandwidth[link])} in ` +
    `${timeText(seconds)}, dispatch`;
}

function drawMap() {
  const stops = rampStops(RAMPS);
  let top = 0, slow = 0;
  report.views.forEach((_, view) => {
    top = Math.max(top, most(rankValues(view, state.layer)));
    slow = Math.max(slow, most(linkSeconds(view, state.layer)));
  });
  const values = rankValues(state.view, state.layer);
  const seconds = linkSeconds(state.view, state.layer);
  fabric.tiles.forEach((tile, rank) => {
    const rgb = mix(stops, top ? values[rank] / top : 0);
    const [box, name, said] = tile.children;
    box.setAttribute("fill", css(rgb));
    const ink = luminance(rgb) > 0.52 ? "#14181d" : "#ffffff";
    if (name) {
      name.style.fill = ink;
      said.style.fill = ink;
      said.textContent = state.metric === "compute" ? fixed(values[rank] * 1e6, 0)
        : fixed(values[rank], 2);
    }
    tile.setAttribute("aria-label", rankSaid(rank).replaceAll("\n", ", "));
  });
  report.drawing.wires.forEach((wire, i) => {
    const share = slow ? seconds[wire[0]] / slow : 0;
    fabric.wires[i].setAttribute("points", arrow(wire, 1 + share * (report.drawing.widest - 1)));
    fabric.wires[i].setAttribute("fill", css(mix(stops, 0.18 + 0.82 * share)));
  });
  byId("map-legend").replaceChildren(
    rampLegend(stops, state.metric === "compute" ? "compute time of a rank" : "load / mean load",
      [rankText(0), rankText(top / 2), rankText(top)]),
    rampLegend(stops, "time of a link, thicker is longer", [timeText(0), timeText(slow)]));
  drawFacts(values, seconds);
  fill("ranks", Array.from(values, (_, rank) => {
    const load = row(viewKey() + ".rank_load", state.layer), even = mean(load) || 1;
    const compute = row(viewKey() + ".rank_compute_s", state.layer)[rank];
    const held = expertsOn(rank);
    return [[rank, rank], [fixed(load[rank] / even, 3), load[rank] / even],
      [timeText(compute), compute], [held ? held.join(", ") : "choose a layer"]];
  }));
  const order = Array.from(seconds.keys()).sort((a, b) => seconds[b] - seconds[a]).slice(0, 200);
  fill("links", order.map((link) => [[linkName(link)],
    [bytesText(seconds[link] * report.bandwidth[link]), seconds[link] * report.bandwidth[link]],
    [timeText(seconds[link]), seconds[link]]]));
}

function drawFacts(values, seconds) {
  const key = viewKey();
  const parts = ["dispatch", "compute", "combine"].map(
    (term) => one(`${key}.layer_${term}_s`));
  const slowest = values.indexOf(most(values)), busiest = seconds.indexOf(most(seconds));
  const facts = [
    ["shown", `${report.views[state.view].label}, ${layerText()}`],
    ["time of a layer", timeText(parts[0] + parts[1] + parts[2])],
    ["balancedness", fixed(one(key + ".layer_balancedness"), 3)],
    ["fullest rank", values.length ? `${slowest}, ${rankText(values[slowest])}` : "–"],
    ["busiest link", seconds.length ? `${linkName(busiest)}, ${timeText(seconds[busiest])}`
      : "none"],
    ["copies a token", fixed(one(key + ".layer_copies") / report.tokens, 2)],
    ["hops a token", fixed(one(key + ".layer_hops") / report.tokens, 2)],
  ];
  byId("map-facts").replaceChildren(...facts.flatMap(([name, text]) =>
    [element("dt", {}, name), element("dd", {}, text)]));
}
// One number of the layer shown, or its mean over the layers.
const one = (name) => row(name, state.layer)[0];
