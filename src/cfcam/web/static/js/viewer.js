"use strict";
/**
 * The viewer: what of the study is shown in which pane. `cfcam.viewer`.
 *
 * It draws at most once a frame of the screen, whatever asks for it; the original never waits for a map.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const panes = [];
  const known = new Map(); // id of a map -> what the server says of it
  const palettes = new Map(); // name -> 768 bytes
  let signed = null; // 768 bytes of the palette of differences, whose middle is none
  let study = null; // what the server says of the open study
  let original = null; // {address, file, grid, window, name}: the channel that is shown
  let hover = null; // {pane, index}
  let leaving = new AbortController();
  let asked = 0;
  let resolveReady;
  const ready = new Promise((resolve) => { resolveReady = resolve; });

  /** @param {object} info as /api/info gives it */
  function start(info) {
    for (const palette of info.palettes || []) palettes.set(palette.name, cfcam.lut.decode(palette.colours));
    if (info.difference) signed = cfcam.lut.decode(info.difference.colours);
    cfcam.state.on(["maps", "compare"], () => { performance.mark("cfcam:switch-asked"); fetchMaps(); });
    cfcam.state.on("channel", fetchChannel);
    cfcam.state.on(null, redraw);
    new ResizeObserver(redraw).observe(document.getElementById("panes"));
  }

  function palette(name = cfcam.state.get().palette) {
    return palettes.get(name) || palettes.values().next().value || cfcam.lut.grey();
  }

  const paletteOf = (map) => (map && map.kind === "difference" && signed ? signed : palette());

  /** Maps of the open study that the page knows, in the order in which they came. */
  function maps() {
    return [...known.values()];
  }

  function note(list) {
    for (const map of list) known.set(map.id, map);
  }

  /** Takes note of maps without showing them; one that a link asked for already is fetched. */
  function add(list) {
    const awaited = list.some((map) => !known.has(map.id) && cfcam.state.get().maps.includes(map.id));
    note(list);
    if (awaited) fetchMaps();
  }

  /** Shows maps, one a pane; none: the original alone. */
  function show(list) {
    add(list);
    cfcam.state.set({ maps: list.slice(0, 6).map((map) => map.id), active: Math.min(cfcam.state.get().active, Math.max(0, list.length - 1)) });
  }

  /** Reads what is known of each map, whichever name the list has. */
  const mapList = (detail) => detail.map_list || (Array.isArray(detail.maps) ? detail.maps : []);

  /**
   * Opens a study and paints its original.
   * @param {object} detail as /api/studies/{id} gives it
   * @returns {Promise<boolean>} true when it stands on the screen; false: another one was opened meanwhile
   */
  async function open(detail) {
    leaving.abort();
    leaving = new AbortController();
    const mine = ++asked;
    const channel = channelOf(detail);
    const file = await fetched(channel.url);
    if (mine !== asked) return false;
    study = detail;
    hover = null;
    known.clear();
    note(mapList(detail));
    original = laid(channel, file);
    settle();
    fetchChannel(); // another one may have been asked for meanwhile
    await drawn();
    performance.mark("cfcam:first-paint");
    document.documentElement.dataset.ready = "1";
    resolveReady(true);
    return true;
  }

  /** The channel that the state asks for of a study, or of what a map lies on; of what has one, that. */
  function channelOf({ channels = [], url, id, window }) {
    return channels[cfcam.state.get().channel] || channels[0] || { url: url || `/api/studies/${id}/original.nii`, window, name: "" };
  }

  const laid = ({ url, window, name }, file) => ({ address: url, file, grid: cfcam.grid.of(study, file), window, name });

  /** A picture's file; who waits for it is told. */
  async function fetched(address) {
    const done = cfcam.store.now(address) ? null : cfcam.notices.busy("reading the picture");
    try {
      return await cfcam.store.file(address, leaving.signal);
    } finally {
      if (done) done();
    }
  }

  /** Lays the channel that the state asks for under the maps; until it is there the other one stands, with its name. */
  async function fetchChannel() {
    if (!study || !original) return;
    const [channel, mine] = [channelOf(study), asked];
    if (channel.url !== original.address) {
      try {
        const file = await fetched(channel.url);
        if (mine !== asked || channelOf(study).url !== channel.url) return;
        original = laid(channel, file);
      } catch (error) {
        cfcam.notices.failed(error);
        return;
      }
    }
    fetchMaps();
    redraw();
  }

  /** Puts what the state says within what this study has. */
  function settle() {
    const state = cfcam.state.get();
    const { shape, picture } = original.grid;
    const fits = state.cursor && state.cursor.length === shape.length && state.cursor.every((at, axis) => at < shape[axis]);
    const patch = {};
    if (!fits && state.cursor) patch.cursor = null;
    if (picture && state.plane !== "axial") patch.plane = "axial";
    if (state.channel >= Math.max(1, study.channels?.length || 0)) patch.channel = 0;
    cfcam.state.set(patch);
  }

  /** The index that is looked at: the state's, else the peak of the map shown, else the middle. */
  function cursor() {
    const state = cfcam.state.get();
    if (state.cursor) return state.cursor;
    const map = known.get(state.maps[state.active] || state.maps[0]);
    const peak = map && map.peak && map.peak.index;
    if (peak && peak.length === original.grid.shape.length) return peak;
    return original.grid.shape.map((n) => Math.floor(n / 2));
  }

  /** Fetches the maps shown, then quietly the others; each is drawn when it comes. */
  async function fetchMaps() {
    if (!study) return;
    const mine = asked;
    const state = cfcam.state.get();
    const shown = state.maps.map((id) => known.get(id)).filter(Boolean);
    const files = shown.flatMap((map) => [map.under && [channelOf(map.under).url, "the prior"], [map.url, map.method]]).filter(Boolean);
    cfcam.store.use([original.address, ...files.map(([address]) => address)]);
    await Promise.all(files.map(async ([address, name]) => {
      if (cfcam.store.now(address)) return;
      const done = cfcam.notices.busy(name);
      try {
        await cfcam.store.file(address, leaving.signal);
      } catch (error) {
        cfcam.notices.failed(error);
      }
      done();
      redraw();
    }));
    const size = original.grid.shape.reduce((a, b) => a * b, 1);
    if (size > 1 << 25) return;
    for (const map of maps().slice(0, 8)) {
      if (mine !== asked) return;
      await cfcam.store.file(map.url, leaving.signal).catch(() => null);
    }
  }

  /** The threshold that a map is drawn with, in parts of what the bar shows; null: it has none. */
  function thresholdOf(map) {
    const state = cfcam.state.get();
    if (map.kind === "difference") return null;
    return state.threshold !== null ? state.threshold : (map.threshold ?? null) === null ? null : map.threshold * factorOf(map);
  }

  /** What a map's values are multiplied by: 1, or its maximum over the greatest of those shown. */
  function factorOf(map) {
    const state = cfcam.state.get();
    if (state.scale !== "common") return 1;
    const all = state.maps.map((id) => known.get(id)?.scale_max).filter((value) => value > 0);
    return map.scale_max > 0 && all.length ? map.scale_max / Math.max(...all) : 1;
  }

  /** The window in use, in the source's units. */
  function windowNow() {
    const own = original.window;
    const chosen = cfcam.state.get().window;
    if (!chosen) return { low: own.low, high: own.high, function: own.function };
    return { low: chosen[0], high: chosen[1], function: "LINEAR_EXACT" };
  }

  const SIGNED = 1.6; // a difference is seldom near 1: 0.8 where a map has 0.5, as cfcam compare draws them

  function howOf(map) {
    const state = cfcam.state.get();
    const isSigned = map.kind === "difference";
    return {
      opacity: isSigned ? Math.min(1, SIGNED * state.opacity) : state.opacity, blend: state.blend, fade: state.fade, threshold: thresholdOf(map), factor: factorOf(map),
      signed: isSigned,
    };
  }

  /** A map as the views draw it; null while it is not there, or while the original alone is wanted. */
  function layer(map) {
    const state = cfcam.state.get();
    const file = map && !state.original && map.status === "ok" ? cfcam.store.now(map.url) : null;
    if (!file) return null;
    const how = howOf(map);
    const name = how.signed ? "difference" : state.palette;
    const level = state.outline || state.blend === "contour" ? how.threshold : null;
    const key = [map.url, name, JSON.stringify(how)].join("|");
    return {
      address: map.url, file, key, signed: how.signed,
      grid: { ...original.grid, strides: cfcam.grid.of(study, file).strides },
      table: cfcam.store.once(`table|${key}`, () => cfcam.lut.table(paletteOf(map), how)),
      level: level === null || level <= 0 ? null : (255 * level) / how.factor, box: map.box || null,
    };
  }

  /**
   * What a map lies on: the study, or the prior that it is of, brought onto the study's grid.
   * @returns {{address: string, file: object|null, grid: object, window: object}} file null: it is not there yet
   */
  function ground(map) {
    if (!map || !map.under) return { ...original, window: windowNow() };
    const { url, window, name } = channelOf(map.under);
    const file = cfcam.store.now(url);
    const grid = file ? { ...original.grid, strides: cfcam.grid.of(study, file).strides } : original.grid;
    return { address: url, file, grid, window: cfcam.state.get().window ? windowNow() : window, name };
  }

  function frameOf(map, number) {
    const state = cfcam.state.get();
    const picture = original.grid.picture;
    const many = !picture && (state.plane === "all" || state.plane === "mip");
    return {
      ...ground(map), measured: study.measured, cursor: cursor(), zoom: state.zoom, pan: state.pan, smooth: state.smooth,
      mip: !picture && state.plane === "mip",
      planes: picture ? ["picture"] : many ? ["axial", "coronal", "sagittal"] : [state.plane],
      cross: state.crosshair || (!picture && state.plane === "all"),
      hover: hover && hover.pane !== number ? hover.index : null, map: layer(map),
    };
  }

  let pending = 0;
  let waiters = [];

  /** Draws at the next frame. */
  function redraw() {
    if (!pending) pending = requestAnimationFrame(paint);
  }

  /** @returns {Promise<void>} after the next drawing */
  function drawn() {
    redraw();
    return new Promise((resolve) => waiters.push(resolve));
  }

  function paint() {
    pending = 0;
    if (!study) return;
    const state = cfcam.state.get();
    const shown = state.maps.length ? state.maps : [null];
    lay(shown.length);
    shown.forEach((id, number) => {
      const map = id && known.get(id);
      const note = map && map.status !== "ok" && !state.original ? map.status : "";
      const name = state.original ? (map && map.under ? "original · prior" : "original") : "";
      panes[number].draw(frameOf(map, number), state.original ? null : map, note, name);
      panes[number].element.classList.toggle("active", shown.length > 1 && number === state.active);
    });
    told(shown);
    for (const resolve of waiters.splice(0)) resolve();
  }

  let last = "";

  /** Marks when new maps stand on the screen, and how long it took. */
  function told(shown) {
    const there = shown.filter((id) => {
      const map = id && known.get(id);
      return map && cfcam.store.now(map.url) && (!map.under || cfcam.store.now(channelOf(map.under).url));
    });
    const key = there.join(",");
    if (key && key !== last && there.length === shown.length) {
      performance.mark("cfcam:map-shown");
      if (performance.getEntriesByName("cfcam:switch-asked").length) performance.measure("cfcam:switch", "cfcam:switch-asked", "cfcam:map-shown");
      document.documentElement.dataset.shown = key;
      last = key;
    }
    window.dispatchEvent(new CustomEvent("cfcam:drawn"));
  }

  function lay(count) {
    const place = document.getElementById("panes");
    while (panes.length < count) {
      const pane = cfcam.pane.make(panes.length);
      cfcam.pointer.attach(pane);
      panes.push(pane);
    }
    if (place.children.length === count) return;
    place.replaceChildren(...panes.slice(0, count).map((pane) => pane.element));
    place.dataset.count = String(count);
  }

  const shownPanes = () => panes.slice(0, Math.max(1, cfcam.state.get().maps.length));
  const activePane = () => Math.min(cfcam.state.get().active, shownPanes().length - 1);

  /** Left and top of a view's canvas in its pane. */
  function offset(pane, view) {
    const [outer, inner] = [pane.element.getBoundingClientRect(), view.canvas.getBoundingClientRect()];
    return [inner.left - outer.left - pane.element.clientLeft, inner.top - outer.top - pane.element.clientTop];
  }

  /**
   * @param {number[]} index of the source's array
   * @returns {number[]|null} CSS pixels of its centre in the pane's element
   */
  function pixelOf(index, pane = activePane(), plane = null) {
    const view = panes[pane]?.views.find((one) => one.place && (!plane || one.plane === plane));
    if (!view) return null;
    const [left, top] = offset(panes[pane], view);
    const [x, y] = view.pointAt(index);
    return [left + x, top + y];
  }

  /** The view under a place of a pane, in CSS pixels of the pane's element, and the place in it. */
  function viewAt(x, y, pane) {
    for (const view of panes[pane]?.views || []) {
      const [left, top] = offset(panes[pane], view);
      if (x >= left && y >= top && x < left + view.canvas.clientWidth && y < top + view.canvas.clientHeight) return { view, x: x - left, y: y - top };
    }
    return null;
  }

  /** @returns {number[]|null} the index of the source's array at a place of a pane (CSS pixels of its element) */
  function indexAt(x, y, pane = activePane()) {
    const found = viewAt(x, y, pane);
    return found && found.view.at(found.x, found.y, cursor());
  }

  /** @returns {string|null} the plane that is shown there */
  function planeAt(x, y, pane = activePane()) {
    return viewAt(x, y, pane)?.view.plane ?? null;
  }

  /** The SVG over a pane's plane, for lines drawn by hand; its units are CSS pixels of that plane. */
  function svg(pane = activePane(), plane = null) {
    return panes[pane].views.find((one) => !plane || one.plane === plane).svg;
  }

  /**
   * @returns {{grey: number|number[]|null, map: number|null, kind: string|null}} the value of what lies under the map,
   *     and the map's: in [0, 1], of a difference in [-1, 1]; null: not there yet
   */
  function valueAt(index, pane = activePane()) {
    const at = (file, grid) => index.reduce((sum, part, axis) => sum + part * grid.strides[axis], 0);
    const map = known.get(cfcam.state.get().maps[pane]);
    const { file, grid } = ground(map);
    const from = file ? at(file, grid) * file.channels : 0;
    const grey = !file ? null : file.channels === 3 ? [...file.data.subarray(from, from + 3)] : file.data[from] * file.slope + file.inter;
    const levels = map && map.status === "ok" && cfcam.store.now(map.url);
    if (!levels) return { grey, map: null, kind: null };
    const level = levels.data[at(levels, cfcam.grid.of(study, levels))];
    // of a difference 128 is none: the middle of 255 steps lies between two of them
    return { grey, map: map.kind === "difference" ? (level - 128) / 127.5 : level / 255, kind: map.kind };
  }

  /** Gives the keys back to the active pane. */
  function focus() {
    panes[activePane()]?.element.focus({ preventScroll: true });
  }

  function setHover(next) {
    if (JSON.stringify(hover) === JSON.stringify(next)) return;
    hover = next;
    redraw();
  }

  /** @returns {Promise<Blob>} a pane's plane as it stands on the screen */
  async function png(pane = activePane()) {
    await drawn();
    return new Promise((resolve) => panes[pane].views[0].canvas.toBlob(resolve, "image/png"));
  }

  cfcam.viewer = {
    ready, start, open, show, add, maps, mapList, redraw, drawn, pixelOf, indexAt, planeAt, svg, valueAt, png, cursor, palette, paletteOf,
    thresholdOf, factorOf, howOf, windowNow, setHover, focus, panes: shownPanes,
    paneAt: (n) => panes[n]?.element ?? null, map: (id) => known.get(id),
    study: () => study, original: () => original, grid: () => original && original.grid, hover: () => hover, palettes: () => [...palettes.keys()],
  };
})();
