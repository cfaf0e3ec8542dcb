// Every layer as a bar, with the bound.
const TERMS = ["dispatch", "compute", "combine"];
const layerParts = (view, layer) => state.bars === "time"
  ? TERMS.map((term) => arrays[`${viewKey(view)}.layer_${term}_s`].values[layer])
  : [arrays[viewKey(view) + ".layer_objective"].values[layer]];
const barText = (x) => state.bars === "time" ? timeText(x) : fixed(x, 0);
const sum = (values) => values.reduce((a, b) => a + b, 0);
const boundOf = (layer) => arrays.bound && (state.bars === "objective" || report.objective === "time")
  ? arrays.bound.values[layer] : null;

function layerSaid(layer) {
  const parts = layerParts(state.view, layer);
  const lines = [`Layer ${report.layers[layer]}: ${barText(sum(parts))}`];
  if (parts.length > 1) parts.forEach((x, i) => lines.push(`${TERMS[i]} ${timeText(x)}`));
  const bound = boundOf(layer);
  if (bound !== null) lines.push(`proven bound ${barText(bound)}`);
  return lines.join("\n");
}

function niceStep(top, count) {
  const rough = top / count, power = 10 ** Math.floor(Math.log10(rough || 1));
  return [1, 2, 2.5, 5, 10].map((x) => x * power).find((x) => x >= rough) || power;
}

function drawLayers() {
  const box = byId("layer-bars"), count = report.layers.length;
  const width = Math.max(box.clientWidth, 300), height = 260;
  const left = 64, bottom = 26, top = 10, right = 4;
  let peak = 0; // the scale holds the placement shown and the one found
  for (const view of [state.view, report.views.length - 1]) {
    for (let layer = 0; layer < count; layer++) peak = Math.max(peak, sum(layerParts(view, layer)));
  }
  peak = peak * 1.02 || 1;
  const unit = state.bars === "time" ? 1e6 : 1;
  const y = (value) => top + (height - top - bottom) * (1 - value / peak);
  const kept = box.querySelector(":focus") !== null;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "group",
    "aria-label": "Time of every layer" });
  const step = niceStep(peak * unit, 4);
  for (let mark = 0; mark <= peak * unit; mark += step) {
    svg.append(shape("line", { x1: left, x2: width - right, y1: y(mark / unit), y2: y(mark / unit),
      class: "grid" }));
    svg.append(shape("text", { x: left - 8, y: y(mark / unit) + 4, "text-anchor": "end",
      class: "faint" }, fixed(mark, step < 1 ? 1 : 0) + (mark === 0 && unit > 1 ? " µs" : "")));
  }
  const room = (width - left - right) / count, thick = Math.min(room * 0.72, 46);
  const every = Math.ceil(34 / room), groups = [];
  for (let layer = 0; layer < count; layer++) {
    const x = left + room * (layer + 0.5) - thick / 2;
    const group = shape("g", { class: "layer" + (state.layer === layer ? " chosen" : ""),
      role: "button", "aria-pressed": String(state.layer === layer),
      "aria-label": layerSaid(layer).replaceAll("\n", ", ") });
    let from = 0;
    layerParts(state.view, layer).forEach((part, i, all) => {
      group.append(shape("rect", { class: all.length > 1 ? TERMS[i] : "compute", x,
        width: thick, y: y(from + part), height: Math.max(y(from) - y(from + part), 0) }));
      from += part;
    });
    const bound = boundOf(layer);
    if (bound !== null) {
      group.append(shape("rect", { class: "halo", x: x - 1.5, width: thick + 3,
        y: y(bound) - 2, height: 4 }));
      group.append(shape("rect", { class: "mark", x: x - 1.5, width: thick + 3,
        y: y(bound) - 1, height: 2 }));
    }
    group.append(shape("rect", { class: "hit", x: left + room * layer, width: room, y: top,
      height: height - top - bottom }));
    if (layer % every === 0) svg.append(shape("text", { x: x + thick / 2, y: height - 8,
      "text-anchor": "middle", class: "faint" }, report.layers[layer]));
    group.addEventListener("pointermove", (event) => showTip(event, layerSaid(layer)));
    group.addEventListener("pointerleave", hideTip);
    group.addEventListener("click", () => showLayer(layer));
    groups.push(group);
    svg.append(group);
  }
  box.replaceChildren(svg);
  roving(svg, groups, 1, showLayer);
  if (kept && state.layer >= 0) groups[state.layer].focus();
  const keys = state.bars === "time" ? [...TERMS] : [];
  if (boundOf(0) !== null) keys.push("mark");
  byId("layer-legend").replaceChildren(...keys.map((key) => element("span", {},
    element("span", { class: `key ${key}`, "aria-hidden": "true" }),
    key === "mark" ? "proven bound of the layer" : key)));
  fill("layer-table", report.layers.map((id, layer) => {
    const terms = TERMS.map((t) => arrays[`${viewKey()}.layer_${t}_s`].values[layer]);
    const bound = report.objective === "time" && arrays.bound ? arrays.bound.values[layer] : null;
    const balance = arrays[viewKey() + ".layer_balancedness"].values[layer];
    return [[id, id], [timeText(sum(terms)), sum(terms)], ...terms.map((x) => [timeText(x), x]),
      [bound === null ? "–" : timeText(bound), bound], [fixed(balance, 3), balance]];
  }));
}

function showLayer(layer) {
  const next = state.layer === layer ? -1 : layer;
  byId("layer").value = next + 1;
  change({ layer: next });
}
