"use strict";
/** The panel "Display" and the keys of the view: palette, blending, channel, window, planes, panes, zoom. */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const { el } = cfcam.dom;
  const set = (patch) => cfcam.state.set(patch);
  const state = () => cfcam.state.get();

  const PLANES = ["axial", "coronal", "sagittal", "all", "mip"];
  const TITLES = {
    axial: "Axial", coronal: "Coronal", sagittal: "Sagittal", all: "Three planes", mip: "Projection (MIP)",
    value: "By value", uniform: "Uniform", contour: "Outline alone", own: "Each map's own", common: "Common",
  };

  const OWN = { "99 % of its voxels": "99 % of its voxels" }; // what the study's own window is, where its file says none

  const next = (list, now) => list[(list.indexOf(now) + 1) % list.length];

  /** The windows on offer: null is the study's own. */
  function windows() {
    const study = cfcam.viewer.study();
    const named = study ? study.windows || {} : {};
    return [[OWN[cfcam.viewer.original()?.window.source] || "As the file says", null], ...Object.entries(named).map(([name, [centre, width]]) => [name, [centre - width / 2, centre + width / 2]])];
  }

  function nextWindow() {
    const list = windows();
    const at = list.findIndex(([, window]) => JSON.stringify(window) === JSON.stringify(state().window));
    const [name, window] = list[(at + 1) % list.length];
    set({ window });
    cfcam.notices.toast(`window: ${name}`);
  }

  /** The channels of the study, such as sequences of MR; none where there is but one. */
  const channels = () => cfcam.viewer.study()?.channels || [];

  /** Lays a channel under the maps, in its own window: another one's values have another scale. */
  const channel = (number) => set({ channel: number, window: null });

  function nextChannel() {
    const all = channels();
    if (!all.length) return cfcam.notices.toast("this study has one channel");
    const number = (state().channel + 1) % all.length;
    return channel(number); // whose name stands on the picture
  }

  function nextPlane() {
    if (cfcam.viewer.grid() && !cfcam.viewer.grid().picture) set({ plane: next(PLANES, state().plane) });
  }

  /** Goes to where the active map is hottest. */
  function peak() {
    const map = cfcam.legend.activeMap();
    if (map && map.peak && map.peak.index) set({ cursor: map.peak.index, crosshair: true });
    else cfcam.notices.toast("this map has no peak: there is no positive evidence, or no map is shown");
  }

  /** Shows so many panes: maps that the page knows of first, then the methods that are offered. */
  async function panes(count) {
    const now = state();
    const shown = now.maps.slice(0, count);
    const others = cfcam.viewer.maps().filter((map) => !shown.includes(map.id) && (map.kind ?? "evidence") === "evidence");
    const same = cfcam.legend.activeMap();
    others.sort((a, b) => (same ? (b.class_index === same.class_index) - (a.class_index === same.class_index) : 0));
    while (shown.length < count && others.length) shown.push(others.shift().id);
    set({ maps: shown, active: Math.min(now.active, Math.max(0, shown.length - 1)) });
    const missing = count - shown.length;
    if (missing < 1) return;
    const have = new Set(cfcam.viewer.maps().map((map) => map.method));
    const wanted = ((cfcam.info && cfcam.info.methods) || []).map((method) => method.name).filter((name) => !have.has(name)).slice(0, missing);
    if (!live() || !wanted.length) {
      const more = !live() && !cfcam.api.offline ? ": start cfcam view with --model to make more" : "";
      cfcam.notices.toast(`this study has ${shown.length || "no"} ${shown.length === 1 ? "map" : "maps"} to show side by side${more}`);
      return;
    }
    const study = cfcam.study.id;
    const answer = await cfcam.explain({ methods: wanted, targets: [same ? same.class_index : "predicted"] });
    // the study's first map may have come meanwhile
    if (answer && cfcam.study.id === study) set({ maps: [...new Set([...state().maps, ...answer.maps.map((map) => map.id)])].slice(0, count) });
  }

  const live = () => Boolean(cfcam.info?.model) && !cfcam.api.offline;

  /** The names that the active map can be turned to: methods for its class, or classes for its method. */
  function names(what, map, same) {
    const there = cfcam.viewer.maps().filter(same).map((one) => one[what]);
    const usual = what === "method" ? cfcam.info?.default?.methods || []
      : Object.entries(cfcam.study.probabilities || {}).sort((a, b) => b[1] - a[1]).map(([name]) => name);
    return [...new Set([...(live() ? usual : []), ...there])];
  }

  /**
   * Puts the map of the next method, or of the next class, in the place of the active one; it is made if it is not there.
   * @param {"method"|"class_name"} what
   */
  async function turn(what, by) {
    const map = cfcam.legend.activeMap();
    if (!map || (map.kind ?? "evidence") !== "evidence") return cfcam.notices.toast("no map of a method and class is chosen: click on one");
    const other = what === "method" ? "class_name" : "method";
    const same = (one) => (one.kind ?? "evidence") === "evidence" && one[other] === map[other] && one.layer === map.layer;
    const list = names(what, map, same);
    const wanted = list[(list.indexOf(map[what]) + by + list.length) % list.length];
    if (wanted === map[what] || wanted === undefined) return cfcam.notices.toast(`there is no other ${what === "method" ? "method" : "class"} to turn to`);
    let found = cfcam.viewer.maps().find((one) => same(one) && one[what] === wanted);
    if (!found) {
      const asked = what === "method" ? { methods: [wanted], targets: [map.class_name] } : { methods: [map.method], targets: [wanted] };
      const study = cfcam.study;
      const answer = await cfcam.explain({ ...asked, layer: map.layer || null });
      if (!answer || cfcam.study !== study) return undefined;
      [found] = answer.maps;
    }
    const { maps } = state();
    const place = maps.indexOf(map.id);
    if (maps.includes(found.id)) return set({ active: maps.indexOf(found.id) });
    if (place >= 0) set({ maps: maps.map((id) => (id === map.id ? found.id : id)), active: place });
    return undefined;
  }

  let turning = Promise.resolve();

  /** One turn after the other: who presses twice goes on by two. */
  const turnBy = (what, by) => () => { turning = turning.then(() => turn(what, by)).catch(cfcam.notices.failed); };

  function zoom(factor) {
    const now = state();
    const value = Math.min(64, Math.max(0.2, now.zoom * factor));
    set({ zoom: Math.abs(value - 1) < 0.02 ? 1 : value });
  }

  function threshold(by) {
    const map = cfcam.legend.activeMap();
    const now = (map ? cfcam.viewer.thresholdOf(map) : state().threshold) ?? 0.5;
    set({ threshold: Math.round(Math.min(1, Math.max(0, now + by)) * 100) / 100 });
  }

  function moveBy(down) {
    const grid = cfcam.viewer.grid();
    if (!grid) return;
    if (!grid.picture) return cfcam.pointer.step(down);
    const [row, column] = cfcam.viewer.cursor();
    set({ cursor: [Math.min(grid.shape[0] - 1, Math.max(0, row + down)), column], crosshair: true });
  }

  function aside(by) {
    const grid = cfcam.viewer.grid();
    if (!grid) return;
    const view = grid.picture ? grid.views.picture : grid.views[state().plane] || grid.views.axial;
    const cursor = cfcam.viewer.cursor().slice();
    cursor[view.u] = Math.min(view.width - 1, Math.max(0, cursor[view.u] + (view.flipU ? -by : by)));
    set({ cursor, crosshair: true });
  }

  function keys() {
    const add = (key, label, group, run, more = {}) => cfcam.keys.add({ key, label, group, run, ...more });
    add("o", "Original, while held", "Picture", (event, down) => set({ original: down }), { hold: true });
    add(["+", "=", "Shift+ArrowUp"], "Threshold up", "Map", () => threshold(0.05), { shown: "+" });
    add(["-", "Shift+ArrowDown"], "Threshold down", "Map", () => threshold(-0.05), { shown: "−" });
    add("f", "Fade below the threshold", "Map", () => set({ fade: !state().fade }));
    add("l", "Outline at the threshold", "Map", () => set({ outline: !state().outline }));
    add("t", "Next palette", "Map", () => set({ palette: next(cfcam.viewer.palettes(), state().palette) }));
    add("s", "Own or common scale", "Map", () => set({ scale: state().scale === "own" ? "common" : "own" }));
    add("m", "Next method", "Map", turnBy("method", 1));
    add("Shift+m", "Previous method", "Map", turnBy("method", -1));
    add("c", "Next class", "Map", turnBy("class_name", 1));
    add("Shift+c", "Previous class", "Map", turnBy("class_name", -1));
    add("g", "Go to the peak", "Map", peak);
    add("w", "Next window", "Picture", nextWindow);
    add("Shift+w", "Next channel", "Picture", nextChannel);
    add("v", "Next plane, three planes, projection", "Picture", nextPlane);
    add("h", "Cross at the cursor", "Picture", () => set({ crosshair: !state().crosshair }));
    add("z", "Zoom in", "Picture", () => zoom(1.25));
    add("Shift+z", "Zoom out", "Picture", () => zoom(0.8));
    add("0", "Whole picture", "Picture", () => set({ zoom: 1, pan: [0, 0] }));
    add("ArrowUp", "Previous slice, or cursor up", "Picture", () => moveBy(-1));
    add("ArrowDown", "Next slice, or cursor down", "Picture", () => moveBy(1));
    add("ArrowLeft", "Cursor to the left", "Picture", () => aside(-1));
    add("ArrowRight", "Cursor to the right", "Picture", () => aside(1));
    add("PageUp", "10 slices back", "Picture", () => cfcam.pointer.step(-10));
    add("PageDown", "10 slices on", "Picture", () => cfcam.pointer.step(10));
    for (let n = 1; n <= 6; n++) add(String(n), `${n} ${n === 1 ? "pane" : "panes"}`, "Panes", () => panes(n).catch(cfcam.notices.failed));
  }

  // the panel

  function choice(key, label, values) {
    const select = el("select", { data: { testid: `display-${key}` }, on: { change: (event) => set({ [key]: event.target.value }) } },
      ...values.map((value) => el("option", { value }, TITLES[value] || value)));
    return { row: el("label.row", {}, el("span", {}, label), select), show: (now) => { select.value = now[key]; } };
  }

  function check(key, label) {
    const box = el("input", { type: "checkbox", data: { testid: `display-${key}` }, on: { change: (event) => set({ [key]: event.target.checked }) } });
    return { row: el("label.row.check", {}, box, el("span", {}, label)), show: (now) => { box.checked = now[key]; } };
  }

  function paletteChoice() {
    const made = choice("palette", "Palette", cfcam.viewer.palettes());
    const note = el("p.note", { data: { testid: "palette-note" } });
    return {
      row: el("div", {}, made.row, note),
      show: (now) => {
        made.show(now);
        const info = (cfcam.info.palettes || []).find((one) => one.name === now.palette) || {};
        note.textContent = info.note || (info.passes === false ? "the change that is seen does not grow with the value on every grey" : "");
      },
    };
  }

  function channelChoice() {
    const select = el("select", { data: { testid: "display-channel" }, on: { change: (event) => channel(Number(event.target.value)) } });
    const row = el("label.row", {}, el("span", {}, "Channel"), select);
    return {
      row,
      show: (now) => {
        const names = channels().map(({ name, file }, number) => `${number}: ${name}${file && !file.includes(name) ? ` (${file})` : ""}`);
        row.hidden = !names.length;
        if (select.dataset.names !== names.join("\n")) select.replaceChildren(...names.map((name, number) => el("option", { value: String(number) }, name)));
        select.dataset.names = names.join("\n");
        select.value = String(now.channel);
      },
    };
  }

  function windowChoice() {
    const select = el("select", {
      data: { testid: "display-window" }, on: { change: (event) => { if (event.target.value !== "-1") set({ window: windows()[event.target.value][1] }); } },
    });
    const field = (name) => el("input", { type: "number", step: "any", data: { testid: `window-${name}` }, on: { change: typed } });
    const [centre, width] = [field("centre"), field("width")];
    function typed() {
      const [c, w] = [centre.valueAsNumber, width.valueAsNumber];
      if (Number.isFinite(c) && w > 0) set({ window: [c - w / 2, c + w / 2] });
    }
    return {
      row: el("fieldset", {}, el("legend", {}, "Window"),
        el("label.row", {}, el("span", {}, "Preset"), select),
        el("label.row", {}, el("span", {}, "Centre"), centre), el("label.row", {}, el("span", {}, "Width"), width)),
      show: (now) => {
        if (!cfcam.viewer.study()) return;
        const list = windows();
        const at = list.findIndex(([, window]) => JSON.stringify(window) === JSON.stringify(now.window));
        const options = list.map(([name], n) => el("option", { value: String(n) }, name));
        if (at < 0) options.push(el("option", { value: "-1" }, "By hand"));
        select.replaceChildren(...options);
        select.value = String(at);
        const { low, high } = cfcam.viewer.windowNow();
        const shown = (value) => String(Number(value.toPrecision(6)));
        if (document.activeElement !== centre) centre.value = shown((low + high) / 2);
        if (document.activeElement !== width) width.value = shown(high - low);
      },
    };
  }

  function panel() {
    let parts = [];
    let planes;
    cfcam.panels.add({
      id: "display", title: "Display", key: "j", icon: "display",
      mount(element) {
        planes = choice("plane", "Planes", PLANES);
        parts = [
          paletteChoice(), choice("blend", "Colour", ["value", "uniform", "contour"]), choice("scale", "Scale", ["own", "common"]),
          check("outline", "Outline at the threshold"), check("fade", "Fade below the threshold"), channelChoice(), windowChoice(), planes,
          check("crosshair", "Cross at the cursor"), check("smooth", "Smooth pixels"),
        ];
        element.append(...parts.map((part) => part.row));
      },
      update(now) {
        for (const part of parts) part.show(now);
        planes.row.hidden = !cfcam.viewer.grid() || cfcam.viewer.grid().picture;
      },
    });
  }

  cfcam.display = { keys, panel, panes, peak, zoom };
})();
