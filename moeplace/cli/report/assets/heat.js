// Which ranks, or experts, serve the same tokens more often than chance.
const together = report.coactivation;

// The heat map shown: size, names, and its cells, 0..254 around 127, as the page carries them.
function heatTable() {
  if (state.heat === "rank") {
    const name = viewKey() + ".lift", size = arrays[name].shape[1];
    return { size, cells: row(name, state.layer), names: rankNames(), row: null };
  }
  const near = nearestDetailed(), size = report.experts;
  const all = arrays.expert_lift.values, from = near * size * (size + 1) / 2;
  const order = expertOrder(together.rows[near]);
  const cells = new Float64Array(size * size);
  order.forEach((one, i) => order.forEach((other, j) => {
    const a = Math.min(one, other), b = Math.max(one, other);
    cells[i * size + j] = a === b ? 127 : all[from + a * size - a * (a - 1) / 2 + (b - a)];
  }));
  return { size, cells, names: order.map((e) => `expert ${e}`), row: together.rows[near] };
}
const lift = (x) => (x - 127) / 127 * together.limit;
const times = (x) => fixed(2 ** lift(x), 2);

function nearestDetailed() {
  const wanted = state.layer < 0 ? 0 : state.layer;
  let best = 0;
  together.rows.forEach((r, i) => {
    if (Math.abs(r - wanted) < Math.abs(together.rows[best] - wanted)) best = i;
  });
  return best;
}

// Experts by the first rank that holds them.
function expertOrder(layer) {
  const slots = row(viewKey() + ".expert_of_slot", layer);
  const order = [];
  slots.forEach((expert) => { if (expert >= 0 && !order.includes(expert)) order.push(expert); });
  return order;
}

function rankNames() {
  const names = [];
  together.groups.forEach((group, rank) => {
    (names[group] = names[group] || []).push(rank);
  });
  return names.map((ranks) => ranks.length > 1 ? `ranks ${ranks[0]}–${ranks[ranks.length - 1]}`
    : `rank ${ranks[0]}`);
}

// How many cells there are of each of 128 distances from the middle.
function heatCounts(cells) {
  const counts = new Array(128).fill(0);
  for (const x of cells) counts[Math.min(Math.round(Math.abs(x - 127)), 127)]++;
  return counts;
}

// The narrowest of three scales that holds nearly all cells.
function heatLimit(cells) {
  const counts = heatCounts(cells);
  let at = -1;
  for (let seen = 0; seen < 0.99 * cells.length; seen += counts[at]) at++;
  const wide = at / 127 * together.limit;
  return [0.5, 1].find((limit) => wide <= limit) || together.limit;
}

let shownHeat = null;
function drawHeat() {
  if (!together) return;
  const heat = heatTable(), canvas = byId("heat"), stops = rampStops(TWO_SIDED);
  shownHeat = heat;
  canvas.width = canvas.height = heat.size;
  const limit = heatLimit(heat.cells), paint = canvas.getContext("2d");
  const colors = Array.from({ length: 255 }, (_, x) => mix(stops, (lift(x) / limit + 1) / 2));
  const image = paint.createImageData(heat.size, heat.size);
  heat.cells.forEach((x, i) => {
    image.data.set(colors[Math.round(x)], i * 4);
    image.data[i * 4 + 3] = 255;
  });
  paint.putImageData(image, 0, 0);
  const where = heat.row === null ? layerText() : "layer " + report.layers[heat.row];
  canvas.setAttribute("aria-label", `Heat map of ${heat.size} ${state.heat}s, ` +
    `${report.views[state.view].label}, ${where}; the strongest pairs are in the table below`);
  byId("heat-legend").replaceChildren(rampLegend(stops, "times as often as by chance",
    [-1, -0.5, 0, 0.5, 1].map((share) => String(Number((2 ** (share * limit)).toFixed(2))))));
  byId("heat-said").textContent = state.heat === "rank" ? "Rows and columns are ranks."
    : `Rows and columns are experts, ordered by rank, in ${where}` +
      (heat.row === state.layer ? "." : ": experts are kept for some layers only.");
  fill("pairs", strongest(heat, 20).map(([i, j, x]) =>
    [[heat.names[i]], [heat.names[j]], [times(x), x]]));
}

function strongest(heat, count) {
  const found = [];
  let least = -1;
  for (let i = 0; i < heat.size; i++) {
    for (let j = i; j < heat.size; j++) {
      const x = heat.cells[i * heat.size + j];
      if (x <= least) continue;
      found.push([i, j, x]);
      if (found.length >= 20 * count) {
        found.sort((a, b) => b[2] - a[2]).length = count;
        least = found[count - 1][2];
      }
    }
  }
  return found.sort((a, b) => b[2] - a[2]).slice(0, count);
}

function buildHeat() {
  if (!together) return;
  const canvas = byId("heat");
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const at = (where, side) => Math.min(shownHeat.size - 1,
      Math.max(0, Math.floor(where / side * shownHeat.size)));
    const i = at(event.clientY - box.top, box.height), j = at(event.clientX - box.left, box.width);
    showTip(event, `${shownHeat.names[i]} and ${shownHeat.names[j]}\n` +
      `${times(shownHeat.cells[i * shownHeat.size + j])} times as often as by chance`);
  });
  canvas.addEventListener("pointerleave", hideTip);
}
