// Hot experts, and replicas with what they are worth.
const SHOWN = 15;

function ranksOf(expert, layer, view = state.view) {
  const slots = row(viewKey(view) + ".expert_of_slot", layer), found = [];
  slots.forEach((e, slot) => {
    if (e === expert) found.push(report.rankOfSlot[view][slot]);
  });
  return found;
}

function smallBar(share) {
  const svg = shape("svg", { class: "bar", viewBox: "0 0 1000 10", preserveAspectRatio: "none",
    "aria-hidden": "true", focusable: "false" });
  svg.append(shape("rect", { class: "compute", x: 0, y: 0, width: share * 1000, height: 10 }));
  return svg;
}

function drawExperts() {
  const { shape: [layers, experts], values } = arrays.load;
  const found = [];
  for (let layer = 0; layer < layers; layer++) {
    if (state.layer >= 0 && layer !== state.layer) continue;
    for (let expert = 0; expert < experts; expert++) {
      found.push([layer, expert, values[layer * experts + expert]]);
    }
  }
  found.sort((a, b) => b[2] - a[2]);
  const top = found.length ? found[0][2] : 1;
  fill("hot", found.slice(0, SHOWN).map(([layer, expert, load]) => {
    const ranks = ranksOf(expert, layer);
    return [[report.layers[layer], report.layers[layer]], [expert, expert], smallBar(load / top),
      [fixed(load, 2) + " ×", load], [ranks.length, ranks.length], [ranks.join(", ")]];
  }));
  drawReplicas();
}

function drawReplicas() {
  if (!byId("replicas")) return;
  const last = report.views.length - 1;
  const get = (name, i) => arrays["replica." + name].values[i];
  const found = [];
  for (let i = 0; i < report.replicas; i++) {
    if (state.layer < 0 || get("row", i) === state.layer) found.push(i);
  }
  found.sort((a, b) => get("known", b) - get("known", a) ||
    get("dropped_s", b) - get("dropped_s", a));
  byId("replicas").caption.textContent = state.layer < 0
    ? `The ${Math.min(SHOWN, found.length)} replicated experts that matter most, of ` +
      `${found.length}; ${report.views[last].label}`
    : `Experts with several replicas in ${layerText()}; ${report.views[last].label}`;
  fill("replicas", found.slice(0, state.layer < 0 ? SHOWN : found.length).map((i) => {
    const layer = get("row", i), expert = get("expert", i), known = get("known", i) === 1;
    const ranks = ranksOf(expert, layer, last), load = row("load", layer)[expert];
    const lost = get("dropped_s", i), sign = lost < 0 ? "−" : "+";
    return [[report.layers[layer], report.layers[layer]], [expert, expert],
      [fixed(load, 2) + " ×", load], [ranks.length, ranks.length], [ranks.join(", ")],
      [known ? sign + timeText(Math.abs(lost)) : "–", known ? lost : null],
      [known ? `rank ${get("fullest", i)}, ${fixed(get("fullest_load", i), 2)} ×` : "–"]];
  }));
}
