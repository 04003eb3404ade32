"use strict";
/** The numbers of what a map marks, and of a region drawn by hand. All are computed in Python; here they are shown. */
(() => {
  const root = window.cfcam;
  const { el, button, field, select, fill, number, answer, status, copy } = root.kit;

  const SOON = 200; // ms after the last change before numbers are asked for
  const LEAST = 1e-6; // threshold: at 0 a region is all that is more than nothing
  const FIELDS = ["name", "size", "count", "components", "largest", "peak", "peak_mm", "peak_patient", "centroid", "centroid_mm", "centroid_patient", "mean", "sd", "maximum", "energy"];

  let title, rule, value, table, line, pencil, away, csv;
  let answered = null; // the table that is shown
  let asked = 0;
  let last = "";
  let timer;

  const active = () => root.maps.of(root.state.get().maps[root.state.get().active]);
  const open = () => root.state.get().panel === "numbers";

  /** The threshold that is shown, as a part of the map's own maximum; null: the map's own. */
  function shownAt(map) {
    const { threshold } = root.state.get();
    return threshold === null ? null : Math.min(1, Math.max(LEAST, threshold / root.viewer.factorOf(map)));
  }

  function question() {
    const map = active();
    if (!map || !root.study) return null;
    const by = { shown: shownAt(map), otsu: "otsu", quantile: `quantile:${Number(value.value)}` }[rule.value];
    return { study: root.study.id, map: map.id, threshold: by, ...(root.drawing.polygon() || { polygon: null }) };
  }

  async function measure() {
    const body = question();
    const said = JSON.stringify(body);
    if (!open() || said === last) return;
    last = said;
    const map = active();
    title.textContent = map ? `${map.class_name} ${answer(map)} · ${map.method}` : "";
    if (!body || map.status !== "ok") {
      show(null);
      line.say(map ? map.status : "No map is shown.", "");
      return;
    }
    const mine = ++asked;
    try {
      const result = await root.api.post("/api/roi", body);
      if (mine !== asked) return;
      show(result.table);
      line.say(body.slice === undefined ? "" : "Measured on this slice alone.");
      if (rule.value !== "shown") follow(result.table.threshold);
    } catch (error) {
      if (mine !== asked) return;
      last = "";
      show(null);
      line.say(error.message, "error");
    }
  }

  /** The outline on the picture stands where the numbers begin. */
  function follow(threshold) {
    if (threshold === null) return;
    const shown = threshold * root.viewer.factorOf(active());
    if (shown !== root.state.get().threshold) root.state.set({ threshold: shown });
  }

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(measure, SOON);
  }

  function place(region, what) {
    const patient = region[`${what}_patient`];
    const mm = region[`${what}_mm`];
    const index = region[what];
    if (patient) return { text: patient.map((one) => one.toFixed(1)).join(", "), all: patient, of: "mm in the patient, RAS+" };
    if (mm) return { text: mm.map((one) => one.toFixed(1)).join(", "), all: mm, of: `mm${answered.measured ? ` ${answered.measured}` : ""} from the first pixel` };
    if (index) return { text: index.map((one) => number(one)).join(", "), all: index, of: index.length === 2 ? "row, column" : "slice, row, column" };
    return { text: "–", all: [], of: "" };
  }

  function show(found) {
    answered = found;
    csv.disabled = !found;
    if (!found) {
      fill(table);
      return;
    }
    const { regions, unit, measured } = found;
    const at = measured && unit.startsWith("mm") ? ` ${measured}` : "";
    const plain = (name) => (region) => ({ text: number(region[name]), all: [region[name] ?? ""] });
    const sized = (name) => (region) => ({ text: `${number(region[name])} ${unit}${at}`, all: [region[name]] });
    const rows = [
      ["Size", sized("size")],
      ["Largest part", sized("largest")],
      ["Parts", plain("components")],
      ["Mean", plain("mean")],
      ["SD", plain("sd")],
      ["Maximum", plain("maximum")],
      ["Share of map", (region) => ({ text: region.energy === null ? "–" : `${number(100 * region.energy)} %`, all: [region.energy ?? ""] })],
      ["Peak", (region) => place(region, "peak")],
      ["Centroid", (region) => place(region, "centroid")],
    ];
    const names = regions.map((region, n) => (n === 0 ? "marked" : region.name));
    const head = el("tr", {}, el("td"), names.map((name) => el("th", { scope: "col", text: name })));
    const body = rows.map(([name, cell]) =>
      el("tr", {}, el("th", { scope: "row", text: name }), regions.map((region) => {
        const { text, all, of } = cell(region);
        return el("td", { text, title: [all.join(" "), of].filter(Boolean).join("  ") });
      })),
    );
    const steady = found.stability ? `${found.stability.stayed} of ${found.stability.motions} small motions left the peak where it is` : "stability of the peak not measured";
    const where = place(regions[0], "peak").of;
    const lines = [`From ${number(found.threshold)} of the map's maximum${/[a-z]/.test(found.rule) ? ` (${found.rule.replace("quantile:", "quantile ")})` : ""}.`, where && `Positions: ${where}.`, `${steady[0].toUpperCase()}${steady.slice(1)}.`];
    fill(table, el("table", { test: "numbers-table" }, el("caption", { class: "off-screen", text: "Numbers of the regions" }), el("thead", {}, head), el("tbody", {}, body)), el("p", { class: "hint", text: lines.filter(Boolean).join(" ") }));
  }

  /** The table with all its digits; the columns are those of RegionTable.to_csv. */
  function asCsv() {
    const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const cell = (one) => quote(one === null || one === undefined ? "" : Array.isArray(one) ? one.join(" ") : String(one));
    const { regions, unit, measured, threshold, rule: by, stability } = answered;
    const head = [...FIELDS, "unit", "measured", "threshold", "rule", "peak_stayed", "peak_motions"].join(",");
    const lines = regions.map((region) => [...FIELDS.map((name) => cell(region[name])), unit, cell(measured), cell(threshold), cell(by), cell(stability?.stayed), cell(stability?.motions)].join(","));
    return `${[head, ...lines].join("\n")}\n`;
  }

  function values() {
    const shown = rule.value === "shown";
    value.disabled = rule.value === "otsu";
    if (shown) {
      const map = active();
      const at = map ? (shownAt(map) ?? map.threshold) : null;
      if (document.activeElement !== value) value.value = at === null || at === undefined ? "" : Number(at.toFixed(3));
    }
  }

  function mount(element) {
    line = status("numbers-status");
    title = el("p", { class: "what", test: "numbers-of" });
    rule = select("numbers-rule", [["shown", "as outlined"], ["otsu", "Otsu"], ["quantile", "quantile"]], "shown", (by) => {
      if (by === "quantile") value.value = 0.9;
      values();
      measure();
    });
    value = el("input", { type: "number", min: "0", max: "1", step: "0.01", test: "numbers-value" });
    value.addEventListener("input", () => {
      const at = Number(value.value);
      if (rule.value === "shown" && value.value !== "" && at >= 0 && at <= 1) root.state.set({ threshold: at * (active() ? root.viewer.factorOf(active()) : 1) });
      soon();
    });
    table = el("div", { class: "numbers" });
    csv = button("Copy as CSV", "numbers-csv", async () => {
      try {
        await copy(asCsv());
        line.say("copied, with every digit", "ok");
      } catch (error) {
        line.say(error.message, "error");
      }
    });
    pencil = button("Draw a region", "draw", () => root.state.set({ tool: root.state.get().tool === "polygon" ? "none" : "polygon" }));
    away = button("Remove it", "draw-clear", () => root.drawing.clear());
    const { offline } = root.api; // where only the numbers of each map's own outline are
    element.append(
      title,
      offline ? "" : el("div", { class: "pair" }, field("Region by", rule), field("Value", value)),
      table,
      line.node,
      el("div", { class: "buttons" }, csv, ...(offline ? [] : [pencil, away])),
      offline ? "" : el("p", { class: "hint", text: "Drawing: click, or arrow keys and Enter, for each corner; Backspace removes the last, Escape ends." }),
      el("p", { class: "hint", text: "The numbers describe the map, which explains the model: a region is not a lesion." }),
    );
    root.drawing.on(() => {
      away.disabled = !root.drawing.count();
      soon();
    });
    update();
  }

  function update() {
    if (!table) return;
    const drawing = root.state.get().tool === "polygon";
    pencil.setAttribute("aria-pressed", drawing ? "true" : "false");
    pencil.textContent = drawing ? "End drawing" : "Draw a region";
    away.disabled = !root.drawing.count();
    values();
    soon();
  }

  if (!root.api.offline) root.keys.add({
    key: "d",
    label: "Draw a region",
    group: "Panels",
    run() {
      root.panels.open("numbers");
      root.state.set({ tool: root.state.get().tool === "polygon" ? "none" : "polygon" });
    },
  });
  root.kit.panel({ id: "numbers", icon: "ruler", title: "Numbers and regions", key: "q", mount, update });
})();
