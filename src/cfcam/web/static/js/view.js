"use strict";
/**
 * One plane on the screen: a canvas, an SVG for lines that are drawn by hand, and the letters at its edges.
 * `cfcam.view.make(plane)`; what is shown comes with each `draw(frame)`.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const { el } = cfcam.dom;
  const SIDES = ["left", "right", "top", "bottom"];
  const LITTLE = 200; // CSS pixels: the slice's number has to do
  const BARS_MM = [1, 2, 5, 10, 20, 50, 100, 200];

  /**
   * Where a plane lies in its canvas.
   * @returns {{x0: number, y0: number, sx: number, sy: number}} CSS pixels: the outer corner of the first pixel, and a
   *     pixel's size
   */
  function placed(view, width, height, zoom, pan) {
    const fit = Math.min(width / (view.width * view.du), height / (view.height * view.dv));
    const [sx, sy] = [fit * zoom * view.du, fit * zoom * view.dv];
    return {
      x0: width / 2 - (0.5 + pan[0]) * view.width * sx, y0: height / 2 - (0.5 + pan[1]) * view.height * sy, sx, sy,
    };
  }

  /** The grey plane of a frame, cut, made smaller and windowed; kept for the other panes. */
  function greyOf(frame, view, by, slice) {
    const { address, file, grid, cursor, window, mip } = frame;
    const where = `${address}|${view.plane}|${mip ? "mip" : slice}|${by}`;
    return cfcam.store.once(`grey|${where}|${window.low}|${window.high}|${window.function}`, () => {
      const plane = cfcam.store.once(`cut|${where}`, () => cfcam.slices.reduced(planeOf(address, file, grid, view, cursor, mip), by));
      return { width: plane.width, height: plane.height, channels: plane.channels, data: cfcam.slices.windowed(plane, file, window) };
    });
  }

  function planeOf(address, file, grid, view, cursor, mip, signed = false) {
    if (!mip || grid.picture) return cfcam.slices.cut(file, grid, view, cursor);
    const all = cfcam.store.once(`projections|${address}`, () => (signed ? cfcam.slices.farthest : cfcam.slices.projections)(file, grid));
    return cfcam.slices.projected(all, grid, view);
  }

  function mapOf(frame, view, by, slice) {
    const { map, grid, cursor, mip } = frame;
    return cfcam.store.once(`map|${map.address}|${view.plane}|${mip ? "mip" : slice}|${by}`, () =>
      cfcam.slices.reduced(planeOf(map.address, map.file, map.grid || grid, view, cursor, mip, map.signed), by));
  }

  function strokeLines(context, lines, place, by, ratio) {
    if (!lines.length) return;
    const x = (value) => (place.x0 + (value + 0.5) * by * place.sx) * ratio;
    const y = (value) => (place.y0 + (value + 0.5) * by * place.sy) * ratio;
    context.beginPath();
    for (let n = 0; n < lines.length; n += 4) {
      context.moveTo(x(lines[n]), y(lines[n + 1]));
      context.lineTo(x(lines[n + 2]), y(lines[n + 3]));
    }
    context.lineCap = "round";
    for (const [colour, width] of [["rgba(0, 0, 0, 0.55)", 3], ["#ffffff", 1.25]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * ratio;
      context.stroke();
    }
  }

  /** The four sides of a box x0, y0, x1, y1 in pixels of the picture, from its rim, as `cfcam.contour.lines` has them. */
  function boxLines(box, by) {
    const [x0, y0, x1, y1] = box.map((at) => at / by - 0.5);
    return [x0, y0, x1, y0, x1, y0, x1, y1, x1, y1, x0, y1, x0, y1, x0, y0];
  }

  function drawCross(context, [x, y], ratio, strong) {
    const [gap, arm] = [5 * ratio, (strong ? 14 : 9) * ratio];
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x * ratio + dx * gap, y * ratio + dy * gap);
      context.lineTo(x * ratio + dx * arm, y * ratio + dy * arm);
    }
    for (const [colour, width] of [["rgba(0, 0, 0, 0.6)", 3.5], [strong ? "#5cc8ff" : "#cfe8f7", 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * ratio;
      context.stroke();
    }
  }

  /** @param {string} plane "picture", "axial", "coronal" or "sagittal" */
  function make(plane) {
    const canvas = el("canvas", { aria: { hidden: "true" } });
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "drawing");
    svg.setAttribute("aria-hidden", "true");
    const letters = SIDES.map((side) => el(`span.letter.${side}`, { data: { testid: `letter-${side}` } }));
    const bar = el("span.scale-bar", { data: { testid: "scale-bar" } });
    const where = el("span.where", { data: { testid: "where" } });
    const element = el("div.view", { data: { testid: `view-${plane}`, plane } }, canvas, svg, ...letters, bar, where);
    const image = document.createElement("canvas");
    const self = { plane, element, canvas, svg, place: null, view: null, draw, pointAt, at };
    let painted = "";

    /** Index of the array at CSS pixels of the canvas; null outside of the plane. */
    function at(x, y, cursor) {
      if (!self.place) return null;
      const u = Math.floor((x - self.place.x0) / self.place.sx);
      const v = Math.floor((y - self.place.y0) / self.place.sy);
      if (u < 0 || v < 0 || u >= self.view.width || v >= self.view.height) return null;
      return cfcam.grid.fromPlane(self.view, [u, v], cursor);
    }

    /** CSS pixels in the canvas of an index's centre. */
    function pointAt(index) {
      const [u, v] = cfcam.grid.toPlane(self.view, index);
      return [self.place.x0 + (u + 0.5) * self.place.sx, self.place.y0 + (v + 0.5) * self.place.sy];
    }

    function paint(frame, view, by, slice) {
      const key = [frame.address, plane, slice, by, JSON.stringify(frame.window), frame.map ? frame.map.key : "", frame.mip].join("|");
      if (key === painted) return;
      const grey = greyOf(frame, view, by, slice);
      const map = frame.map && frame.map.table ? mapOf(frame, view, by, slice) : null;
      if (image.width !== grey.width || image.height !== grey.height) [image.width, image.height] = [grey.width, grey.height];
      const context = image.getContext("2d", { willReadFrequently: true });
      const pixels = context.createImageData(grey.width, grey.height);
      cfcam.slices.composite(grey.data, grey.channels, map, map && frame.map.table, pixels.data);
      context.putImageData(pixels, 0, 0);
      painted = key;
    }

    /**
     * @param {object} frame address, file (null: not there yet, and nothing is drawn in its place), grid, cursor,
     *     window, zoom, pan, smooth, mip, name (of the channel; "": it has one), measured (where mm are, such as "at the detector"), cross (drawn at the cursor), hover (index or null) and map: null or {address, file, key, table, signed, level: 0..255 of its line or null, box: that it explains, or null}
     */
    function draw(frame) {
      const view = frame.grid.views[plane];
      self.view = view;
      const [width, height] = [element.clientWidth, element.clientHeight];
      if (!width || !height) return;
      const ratio = window.devicePixelRatio || 1;
      const size = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
      const place = (self.place = placed(view, width, height, frame.zoom, frame.pan));
      const by = Math.max(1, Math.floor(1 / (Math.max(place.sx, place.sy) * ratio)));
      const slice = view.n === null ? 0 : frame.cursor[view.n];
      if (frame.file) paint(frame, view, by, slice);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.fillStyle = "#000";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.imageSmoothingEnabled = frame.smooth;
      context.imageSmoothingQuality = "medium";
      if (frame.file) context.drawImage(image, place.x0 * ratio, place.y0 * ratio, image.width * by * place.sx * ratio, image.height * by * place.sy * ratio);
      if (frame.file && frame.map && frame.map.level !== null) {
        const lines = cfcam.store.once(`lines|${frame.map.address}|${plane}|${frame.mip ? "mip" : slice}|${by}|${frame.map.level}`, () =>
          cfcam.contour.lines(mapOf(frame, view, by, slice), frame.map.level));
        strokeLines(context, lines, place, by, ratio);
      }
      if (frame.file && frame.map && frame.map.box) strokeLines(context, boxLines(frame.map.box, by), place, by, ratio);
      if (frame.cross) drawCross(context, pointAt(frame.cursor), ratio, true);
      if (frame.hover) drawCross(context, pointAt(frame.hover), ratio, false);
      label(frame, view, slice);
    }

    function label(frame, view, slice) {
      letters.forEach((letter, n) => { letter.textContent = view.edges ? view.edges[n] : ""; });
      const little = element.clientWidth < LITTLE;
      const projected = little ? "projection" : "projection of the greatest value";
      const place = frame.mip ? projected : view.n === null ? "" : little ? `${slice + 1} of ${view.slices}` : placeText(frame, view, slice);
      where.textContent = [place, frame.name].filter(Boolean).join(" · ");
      const known = frame.grid.spacing && frame.grid.spacing.every((mm) => mm > 0);
      bar.hidden = !known;
      if (!known) return;
      const pixelsInMm = self.place.sx / view.du;
      const length = BARS_MM.filter((mm) => mm * pixelsInMm <= Math.max(60, element.clientWidth / 6)).at(-1) || 1;
      bar.style.width = `${length * pixelsInMm}px`;
      bar.textContent = length >= 10 ? `${length / 10} cm` : `${length} mm`;
      bar.dataset.measured = frame.measured || "";
    }

    return self;
  }

  function placeText(frame, view, slice) {
    const number = `slice ${slice + 1} of ${view.slices}`;
    const mm = cfcam.grid.patient(frame.grid, frame.cursor);
    if (!mm) return number;
    const at = mm[view.way];
    const letter = ["LR", "PA", "IS"][view.way][at >= 0 ? 1 : 0];
    return `${letter} ${Math.abs(at).toFixed(1)} mm · ${number}`;
  }

  cfcam.view = { make, placed };
})();
