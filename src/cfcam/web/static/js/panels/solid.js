"use strict";
/**
 * A volume and the active map in 3-D, turned by dragging. NiiVue draws it; it is fetched when the panel is first opened.
 *
 * Planes are drawn by `cfcam.slices`, without a graphics card. In 3-D both arrays are made smaller, to at most `MOST`
 * voxels along an axis: of the scan one voxel of each block is taken, of the map the greatest value, so that no peak is
 * lost. Of the map the region at the threshold is drawn: fainter values, seen through one another, would add up to what
 * is not there. Nothing is measured here.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const { el } = cfcam.dom;
  const MOST = 128;
  const CODES = [[Uint8Array, 2], [Int16Array, 4], [Int32Array, 8], [Float32Array, 16], [Uint16Array, 512]];

  let library = null;
  let drawing = null;
  let note = null;
  let place = null;
  let shown = "";
  let turn = Promise.resolve();

  /** NiiVue, once; a second try after one that failed. */
  function niivue() {
    library = library || new Promise((resolve, reject) => {
      const script = el("script", { src: "/static/vendor/niivue.umd.js" });
      script.addEventListener("load", () => resolve(window.niivue));
      script.addEventListener("error", () => {
        library = null;
        reject(new Error("the 3-D drawing could not be fetched: is the server still running?"));
      });
      document.head.append(script);
    });
    return library;
  }

  /**
   * A smaller array of one value for each block.
   * @param {{dims: number[], data: TypedArray}} file one channel, the fastest axis first
   * @param {boolean} greatest take the greatest value of a block, not one in its middle
   * @returns {{dims: number[], data: TypedArray, steps: number[], shift: number[]}} shift: where a new voxel's centre lies
   *     in its block, in old voxels
   */
  function reduced(file, greatest) {
    const steps = file.dims.map((n) => Math.ceil(n / MOST));
    const dims = file.dims.map((n, axis) => Math.floor(n / steps[axis]));
    const [nx, ny] = file.dims;
    const data = new file.data.constructor(dims[0] * dims[1] * dims[2]);
    const inner = steps.map((step) => (greatest ? [...Array(step).keys()] : [step >> 1]));
    let to = 0;
    for (let z = 0; z < dims[2]; z++) for (let y = 0; y < dims[1]; y++) for (let x = 0; x < dims[0]; x++, to++) {
      let best = -Infinity;
      for (const c of inner[2]) for (const b of inner[1]) {
        const row = nx * (y * steps[1] + b + ny * (z * steps[2] + c)) + x * steps[0];
        for (const a of inner[0]) if (file.data[row + a] > best) best = file.data[row + a];
      }
      data[to] = best;
    }
    return { dims, data, steps, shift: steps.map((step) => (greatest ? (step - 1) / 2 : step >> 1)) };
  }

  /** A NIfTI-1 file of a smaller array, at the place of the one that it was made from. */
  function written(file, small) {
    const buffer = new ArrayBuffer(352 + small.data.byteLength);
    const view = new DataView(buffer);
    const affine = file.affine || [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]];
    view.setInt32(0, 348, true);
    [3, ...small.dims, 1, 1, 1, 1].forEach((n, at) => view.setInt16(40 + 2 * at, n, true));
    view.setInt16(70, CODES.find(([type]) => small.data instanceof type)[1], true);
    view.setInt16(72, 8 * small.data.BYTES_PER_ELEMENT, true);
    view.setFloat32(76, 1, true);
    small.steps.forEach((step, axis) => {
      view.setFloat32(80 + 4 * axis, step * Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]), true);
    });
    view.setFloat32(108, 352, true);
    view.setFloat32(112, file.slope, true);
    view.setFloat32(116, file.inter, true);
    view.setInt16(254, 1, true); // the place is in the rows below
    affine.slice(0, 3).forEach((parts, row) => {
      const origin = small.shift.reduce((sum, at, axis) => sum + at * parts[axis], parts[3]);
      [...small.steps.map((step, axis) => step * parts[axis]), origin].forEach(
        (value, at) => view.setFloat32(280 + 16 * row + 4 * at, value, true));
    });
    view.setUint32(344, 0x6e2b3100, false); // "n+1"
    new Uint8Array(buffer, 352).set(new Uint8Array(small.data.buffer));
    return buffer;
  }

  /** The drawing, made when it is first needed. */
  async function ready() {
    const nv = await niivue();
    if (!drawing) {
      if (!el("canvas").getContext("webgl2")) {
        throw new Error("3-D needs WebGL 2, which this browser does not give; the planes do not need it");
      }
      const canvas = el("canvas", {
        data: { testid: "solid" }, attr: { role: "img" }, aria: { label: "The scan and its map in 3-D; drag to turn it" },
      });
      place.replaceChildren(canvas);
      drawing = new nv.Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: false, isOrientCube: true, logLevel: "error", loadingText: "" });
      await drawing.attachToCanvas(canvas);
      drawing.setSliceType(drawing.sliceTypeRender);
    }
    return nv;
  }

  const image = (nv, file, greatest, more) => nv.NVImage.loadFromUrl({ url: "volume.nii", buffer: written(file, reduced(file, greatest)), ...more });

  /** Draws the open volume with the active map, unless it stands there already. */
  async function draw() {
    const study = cfcam.viewer.study();
    const state = cfcam.state.get();
    const scan = study && cfcam.viewer.original().file;
    if (!scan || study.kind !== "volume" || scan.channels !== 1) {
      say("Only volumes can be turned: open a CT, an MR or a NIfTI volume.");
      return;
    }
    const map = cfcam.viewer.map(state.maps[state.active]);
    const own = map && map.status === "ok" && map.kind !== "prior" && map.kind !== "difference"; // of this very scan
    const heat = own ? cfcam.store.now(map.url) : null;
    const { low, high } = cfcam.viewer.windowNow();
    const from = heat ? cfcam.viewer.thresholdOf(map) ?? 0.5 : null;
    const key = [cfcam.viewer.original().address, heat ? map.url : "", from, state.palette, low, high].join("|");
    if (key === shown) return;
    say("drawing …");
    const nv = await ready();
    const colours = cfcam.viewer.palette();
    const levels = [...Array(256).keys()];
    const [R, G, B] = [0, 1, 2].map((n) => levels.map((value) => colours[3 * value + n]));
    drawing.addColormap("cfcam", { R, G, B, A: levels.map((value) => (value >= 255 * from ? 200 : 0)), I: levels });
    for (const old of [...drawing.volumes]) drawing.removeVolume(old);
    drawing.addVolume(await image(nv, scan, false, { colormap: "gray", opacity: heat ? 0.35 : 1, cal_min: low, cal_max: high }));
    if (heat) drawing.addVolume(await image(nv, heat, true, { colormap: "cfcam", opacity: 1, cal_min: 0, cal_max: 1 }));
    shown = key;
    place.dataset.shown = key;
    const what = heat ? `${map.method}, ${map.class_name}: from ${from.toFixed(2)} of the map's maximum. ` : "";
    say(`${what}Drag to turn. Made smaller for drawing; nothing is measured here.`);
  }

  function say(text) {
    note.textContent = text;
  }

  /** One drawing after the other; what was asked for meanwhile is drawn last. */
  function update() {
    if (place && cfcam.state.get().panel === "solid") turn = turn.then(draw).catch((error) => say(error.message));
  }

  cfcam.solid = { reduced, written };
  if (cfcam.api.offline) return; // the page in one file holds no NiiVue
  cfcam.panels.add({
    id: "solid",
    title: "In 3-D",
    key: "y",
    icon: "cube",
    mount(body) {
      place = el("div.solid");
      note = el("p.hint", { data: { testid: "solid-note" }, attr: { role: "status" } });
      body.append(place, note);
      window.addEventListener("cfcam:drawn", update);
    },
    update,
  });
})();
