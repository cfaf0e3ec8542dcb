// Which ranks, or experts, serve the same tokens more often than chance.
const together = report.coactivation;

// Size and log2 lift of the heat map shown.
function heatTable() {
  if (state.heat === "rank") {
    const name = viewKey() + ".lift", size = arrays[name].shape[1];
    const values = row(name, state.layer);
    return { size, at: (i, j) => lift(values[i * size + j]), names: rankNames(), row: null };
  }
  const near = nearestDetailed();
  const size = report.experts, all = arrays.expert_lift.values;
  const width = size * (size + 1) / 2, from = near * width;
  const order = expertOrder(together.rows[near]);
  const cell = (a, b) => {
    const [i, j] = a < b ? [a, b] : [b, a];
    return all[from + i * size - i * (i - 1) / 2 + (j - i)];
  };
  return { size, at: (i, j) => order[i] === order[j] ? 0 : lift(cell(order[i], order[j])),
    names: order.map((e) => `expert ${e}`), row: together.rows[near] };
}
const lift = (x) => (x - 127) / 127 * together.limit;

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

// The narrowest of three scales that holds nearly all entries.
function heatLimit(heat) {
  const sizes = [];
  for (let i = 0; i < heat.size; i++) {
    for (let j = i; j < heat.size; j++) sizes.push(Math.abs(heat.at(i, j)));
  }
  sizes.sort((a, b) => a - b);
  const wide = sizes[Math.floor(sizes.length * 0.99)];
  return [0.5, 1].find((limit) => wide <= limit) || together.limit;
}

let shownHeat = null;
function drawHeat() {
  if (!together) return;
  const heat = heatTable(), canvas = byId("heat"), stops = rampStops(TWO_SIDED);
  shownHeat = heat;
  const cell = Math.max(1, Math.floor(768 / heat.size));
  canvas.width = canvas.height = cell * heat.size;
  const paint = canvas.getContext("2d");
  const limit = heatLimit(heat), pairs = [];
  for (let i = 0; i < heat.size; i++) {
    for (let j = 0; j < heat.size; j++) {
      const value = heat.at(i, j);
      paint.fillStyle = css(mix(stops, (value / limit + 1) / 2));
      paint.fillRect(j * cell, i * cell, cell, cell);
      if (j >= i) pairs.push([i, j, value]);
    }
  }
  const where = heat.row === null ? layerText() : "layer " + report.layers[heat.row];
  canvas.setAttribute("aria-label", `Heat map of ${heat.size} ${state.heat}s, ` +
    `${report.views[state.view].label}, ${where}; the strongest pairs are in the table below`);
  byId("heat-legend").replaceChildren(rampLegend(stops, "times as often as by chance",
    [-1, -0.5, 0, 0.5, 1].map((share) => String(Number((2 ** (share * limit)).toFixed(2))))));
  const told = state.heat === "rank" ? "Rows and columns are ranks."
    : `Rows and columns are experts, ordered by rank, in ${where}` +
      (heat.row === state.layer ? "." : ": experts are kept for some layers only.");
  byId("heat-said").textContent = told;
  pairs.sort((a, b) => b[2] - a[2]);
  fill("pairs", pairs.slice(0, 20).map(([i, j, value]) =>
    [[heat.names[i]], [heat.names[j]], [fixed(2 ** value, 2), value]]));
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
      `${fixed(2 ** shownHeat.at(i, j), 2)} times as often as by chance`);
  });
  canvas.addEventListener("pointerleave", hideTip);
}
