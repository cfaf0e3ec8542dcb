// Controls, sorting, themes; then everything is drawn.
function sortBy(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const rising = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const rows = Array.from(table.tBodies[0].rows).map((line) => {
    const cell = line.cells[column];
    const number = cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
    return { line, number, text: cell.textContent };
  });
  const empty = (r) => Number.isNaN(r.number) && (r.text === "–" || r.text === "");
  rows.sort((a, b) => {
    if (empty(a) !== empty(b)) return empty(a) ? 1 : -1; // what is not known comes last
    const order = Number.isNaN(a.number) || Number.isNaN(b.number)
      ? a.text.localeCompare(b.text, "en", { numeric: true }) : a.number - b.number;
    return rising ? order : -order;
  });
  table.tBodies[0].append(...rows.map((r) => r.line));
}

function wireTables() {
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = head.querySelector("button");
      if (button) button.addEventListener("click", () => sortBy(table, column));
    });
  }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").setAttribute("aria-pressed", String(name === "dark"));
}

function wireThemes() {
  const wanted = matchMedia("(prefers-color-scheme: dark)");
  setTheme(wanted.matches ? "dark" : "light");
  const turn = (name) => { setTheme(name); change({}); };
  wanted.addEventListener("change", () => turn(wanted.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => turn(dark() ? "light" : "dark"));
  let before = "light";
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    turn("light");
  });
  addEventListener("afterprint", () => turn(before));
}

function wireControls() {
  const radios = (name, take) => {
    for (const input of document.querySelectorAll(`input[name="${name}"]`)) {
      input.addEventListener("change", () => take(input.value));
    }
  };
  radios("view", (value) => change({ view: Number(value) }));
  radios("metric", (value) => change({ metric: value }));
  radios("heat", (value) => change({ heat: value }));
  radios("bars", (value) => change({ bars: value }));
  byId("layer").addEventListener("input", (event) =>
    change({ layer: Number(event.target.value) - 1 }));
  drawers.push(() => {
    byId("layer-said").textContent = layerText();
    byId("layer").setAttribute("aria-valuetext", layerText());
  });
  const copy = byId("copy");
  if (copy) copy.addEventListener("click", async () => {
    const code = byId(copy.dataset.for);
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      byId("copied").textContent = "copied";
    } catch {
      byId("copied").textContent = "selected; copy it with the keyboard";
    }
  });
}

async function start() {
  wireThemes();
  wireTables();
  await unpack(report.arrays);
  wireControls();
  buildMap();
  buildHeat();
  drawers.push(drawMap, drawLayers, drawHeat, drawExperts);
  change({});
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) { width = innerWidth; drawLayers(); }
  });
  document.documentElement.dataset.ready = "yes";
}
start();
