"use strict";
// What the parts of the page share: data, state, numbers as text, colors, elements.
const report = JSON.parse(document.getElementById("report-data").textContent);
const state = { view: report.views.length - 1, layer: -1, metric: "load", heat: "rank",
  bars: report.objective === "time" ? "time" : "objective" };
const arrays = {};
const drawers = [];
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

async function unpack(packed) {
  const text = atob(packed.zlib);
  const bytes = Uint8Array.from(text, (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const types = { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array };
  for (const [name, entry] of Object.entries(packed.index)) {
    const count = entry.shape.reduce((a, b) => a * b, 1);
    const whole = new types[entry.dtype](buffer, entry.at, count);
    const values = Float64Array.from(whole, (x) => entry.least + entry.scale * x);
    arrays[name] = { shape: entry.shape, values, mean: null };
  }
}

// One layer's row of an array, or the mean over all layers for layer -1.
function row(name, layer) {
  const array = arrays[name];
  const size = array.values.length / array.shape[0];
  if (layer >= 0) return array.values.subarray(layer * size, (layer + 1) * size);
  if (!array.mean) {
    array.mean = new Float64Array(size);
    for (let i = 0; i < array.values.length; i++) {
      array.mean[i % size] += array.values[i] / array.shape[0];
    }
  }
  return array.mean;
}

const viewKey = (index = state.view) => report.views[index].key;
const layerText = () => state.layer < 0 ? "all layers (mean)" : "layer " + report.layers[state.layer];
const most = (values) => values.reduce((a, b) => Math.max(a, b), 0);
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const fixed = (x, digits) => x.toLocaleString("en-US",
  { minimumFractionDigits: digits, maximumFractionDigits: digits });
const linkName = (link) => report.links[link].replace("->", " → ");
const timeText = (s) => fixed(s * 1e6, s * 1e6 >= 100 ? 0 : 1) + "\u00a0µs";
function bytesText(b) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (b >= 1000 && at < units.length - 1) { b /= 1000; at++; }
  return fixed(b, b >= 100 || at === 0 ? 0 : 1) + "\u00a0" + units[at];
}

// Ramps whose lightness only falls (light page) or only rises (dark page).
const RAMPS = {
  light: ["#f2f1ea", "#d3e3dd", "#a3cccd", "#6aacbd", "#3d86aa", "#245f96", "#1b3c74", "#151b45"],
  dark: ["#22282f", "#1f3d5c", "#245f8c", "#2f86ae", "#56abc0", "#90cbc9", "#c9e6d3", "#fbf8dc"],
};
const TWO_SIDED = {
  light: ["#8a4b0c", "#d08c3c", "#efd3aa", "#f6f5f1", "#b5cfe4", "#4d8abd", "#173f73"],
  dark: ["#f0b264", "#b97a34", "#6b4a28", "#22282f", "#2b5478", "#4a8fcc", "#bfe0fa"],
};
const dark = () => document.documentElement.dataset.theme === "dark";
const rampStops = (ramps) => ramps[dark() ? "dark" : "light"];
const parse = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
function mix(stops, share) {
  const x = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(x), stops.length - 2);
  const [one, other] = [parse(stops[low]), parse(stops[low + 1])];
  return one.map((c, i) => Math.round(c + (other[i] - c) * (x - low)));
}
const css = (rgb) => `rgb(${rgb.join(",")})`;
const luminance = (rgb) => (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]) / 255;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
function shape(name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

// A ramp with numbers under it.
let ramps = 0;
function rampLegend(stops, title, labels) {
  const svg = shape("svg", { viewBox: "0 0 260 52", role: "img",
    "aria-label": `${title}: from ${labels[0]} to ${labels[labels.length - 1]}` });
  svg.append(shape("text", { x: 0, y: 12, class: "faint" }, title));
  const id = `ramp-${++ramps}`, blend = shape("linearGradient", { id });
  stops.forEach((color, i) => blend.append(shape("stop",
    { offset: i / (stops.length - 1), "stop-color": color })));
  svg.append(blend, shape("rect", { x: 0, y: 18, width: 260, height: 14, rx: 3,
    fill: `url(#${id})` }));
  labels.forEach((text, i) => {
    const at = labels.length < 2 ? 0 : i / (labels.length - 1);
    const anchor = at === 0 ? "start" : at === 1 ? "end" : "middle";
    svg.append(shape("text", { x: at * 260, y: 48, "text-anchor": anchor, class: "faint" }, text));
  });
  return svg;
}

const tip = byId("tip");
function showTip(event, text) {
  tip.textContent = text;
  tip.hidden = false;
  const right = Math.min(event.pageX + 14, scrollX + innerWidth - tip.offsetWidth - 12);
  tip.style.left = Math.max(right, 4) + "px";
  tip.style.top = event.pageY + 16 + "px";
}
const hideTip = () => { tip.hidden = true; };

// One stop of the Tab key for a group; arrow keys move inside it.
function roving(group, items, across, choose) {
  let at = 0;
  const go = (to) => {
    if (to < 0 || to >= items.length) return;
    items[at].setAttribute("tabindex", "-1");
    at = to;
    items[at].setAttribute("tabindex", "0");
    items[at].focus();
  };
  items.forEach((item, i) => {
    item.setAttribute("tabindex", i === 0 ? "0" : "-1");
    item.addEventListener("focus", () => { items[at].setAttribute("tabindex", "-1"); at = i;
      item.setAttribute("tabindex", "0"); });
  });
  group.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across };
    if (event.key in steps) { event.preventDefault(); go(at + steps[event.key]); }
    if (event.key === "Home") { event.preventDefault(); go(0); }
    if (event.key === "End") { event.preventDefault(); go(items.length - 1); }
    if (choose && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault(); choose(at);
    }
  });
}

function change(part) {
  Object.assign(state, part);
  for (const draw of drawers) draw();
}

// Rows of a table the script fills; each cell is [text, number] or an element.
function fill(id, rows) {
  const table = byId(id);
  const heads = table.tHead.rows[0].cells;
  const body = table.tBodies[0];
  body.replaceChildren(...rows.map((cells) => {
    const line = document.createElement("tr");
    cells.forEach((cell, i) => {
      const made = element(i === 0 ? "th" : "td", i === 0 ? { scope: "row" } : {});
      if (heads[i].className) made.className = heads[i].className;
      if (cell instanceof Element) made.append(cell);
      else {
        made.textContent = cell[0];
        if (cell.length > 1 && cell[1] !== null) made.dataset.value = cell[1];
      }
      line.append(made);
    });
    return line;
  }));
  for (const head of heads) head.removeAttribute("aria-sort");
}
