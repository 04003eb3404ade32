"use strict";
/** A region drawn by hand on the active pane. Its corners are indices of the source: it stays where it is when one zooms. */
(() => {
  const root = window.cfcam;
  const { el, button } = root.kit;
  const { viewer, state } = root;
  const SVG = "http://www.w3.org/2000/svg";
  const FAR = 10; // pixels of the source that an arrow key goes with Shift
  const PLANES = ["axial", "coronal", "sagittal"];

  let points = []; // indices of the source
  let of = { study: null, plane: "picture" }; // what they were drawn on
  let pen = null; // index that the keyboard is at
  let layer, area, tip, over;
  const listeners = new Set();
  const changed = () => listeners.forEach((run) => run());

  const drawing = () => state.get().tool === "polygon";
  const flat = () => viewer.study()?.kind !== "volume";
  const planeNow = () => (flat() ? "picture" : state.get().plane);

  function viewNow() {
    const pane = viewer.panes()[state.get().active];
    return pane?.views.find((view) => view.plane === planeNow()) || null;
  }

  /** The index under the pointer; null outside of the picture. */
  function under(event) {
    const view = viewNow();
    const box = view.canvas.getBoundingClientRect();
    return view.at(event.clientX - box.left, event.clientY - box.top, viewer.cursor());
  }

  /** Axis of the source that all corners have the same index on; null in a picture. */
  const across = () => (of.plane === "picture" ? null : viewNow()?.view.n ?? null);

  function build() {
    area = document.createElementNS(SVG, "polygon");
    const lines = document.createElementNS(SVG, "svg");
    lines.setAttribute("aria-hidden", "true");
    lines.append(area);
    tip = el("span", { class: "pen", "aria-hidden": "true", hidden: true });
    layer = el(
      "div",
      { class: "region", role: "application", tabindex: "-1", test: "drawing", "aria-label": "Region: arrow keys move the pen, Enter sets a corner, Backspace removes the last, Escape ends" },
      lines,
      tip,
    );
    layer.addEventListener("keydown", keyboard);
    layer.addEventListener("pointerdown", (event) => {
      if (!drawing() || event.button !== 0) return;
      event.preventDefault();
      event.stopPropagation();
      const index = under(event);
      layer.focus({ preventScroll: true });
      pen = null;
      if (index) add(index);
    });
  }

  function start() {
    const study = viewer.study();
    if (!study) return;
    if (!flat() && !PLANES.includes(state.get().plane)) {
      root.notices.toast("Choose one plane to draw on: V");
      state.set({ tool: "none" });
      return;
    }
    const view = viewNow();
    const slice = view?.view.n === null ? null : viewer.cursor()[view?.view.n];
    if (points.length && (of.plane !== planeNow() || (slice !== null && points[0][view.view.n] !== slice))) points = [];
    of = { study: study.id, plane: planeNow() };
    pen = null;
    draw();
    layer?.focus({ preventScroll: true });
    changed();
  }

  function clear() {
    points = [];
    draw();
    changed();
  }

  function add(index) {
    const axis = across();
    const corner = [...index];
    if (axis !== null && points.length) corner[axis] = points[0][axis];
    points.push(corner);
    draw();
    changed();
  }

  function remove(n) {
    if (n < 0) return;
    points.splice(n, 1);
    layer.focus({ preventScroll: true });
    draw();
    changed();
  }

  /** The index so many pixels further in the direction of an arrow key, as it looks on the screen. */
  function moved(index, key, steps) {
    const { view } = viewNow();
    const [axis, flip, way] = { ArrowLeft: [view.u, view.flipU, -1], ArrowRight: [view.u, view.flipU, 1], ArrowUp: [view.v, view.flipV, -1], ArrowDown: [view.v, view.flipV, 1] }[key];
    const next = [...index];
    next[axis] = Math.min(viewer.study().shape[axis] - 1, Math.max(0, next[axis] + steps * (flip ? -way : way)));
    return next;
  }

  function keyboard(event) {
    if (!drawing() || event.altKey || event.ctrlKey || event.metaKey) return;
    const corner = event.target.dataset.corner;
    if (/^Arrow/.test(event.key)) {
      const steps = event.shiftKey ? FAR : 1;
      if (corner === undefined) pen = moved(pen || viewer.cursor(), event.key, pen ? steps : 0);
      else points[corner] = moved(points[corner], event.key, steps);
      draw();
      if (corner !== undefined) changed();
    } else if (event.key === "Escape") state.set({ tool: "none" });
    else if (event.key === "Backspace") remove(points.length - 1);
    else if (event.key === "Delete" && corner !== undefined) remove(Number(corner));
    else if ((event.key === "Enter" || event.key === " ") && corner === undefined) {
      pen = pen || [...viewer.cursor()];
      add(pen);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  function drag(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    const handle = event.currentTarget;
    const n = Number(handle.dataset.corner);
    handle.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
    const follow = (move) => {
      const index = under(move);
      if (!index) return;
      const axis = across();
      if (axis !== null) index[axis] = points[n][axis];
      points[n] = [...index];
      draw();
    };
    const end = () => {
      handle.removeEventListener("pointermove", follow);
      changed();
    };
    handle.addEventListener("pointermove", follow);
    handle.addEventListener("lostpointercapture", end, { once: true });
  }

  function handles() {
    const there = [...layer.querySelectorAll("button")];
    there.slice(points.length).forEach((node) => node.remove());
    for (let n = there.length; n < points.length; n++) {
      layer.append(button("", "corner", () => {}, { class: "corner", "data-corner": n, "aria-label": `Corner ${n + 1}: arrow keys move it, Delete removes it`, on: { pointerdown: drag } }));
    }
    return [...layer.querySelectorAll("button")];
  }

  const put = (node, [x, y]) => {
    node.style.left = `${x}px`;
    node.style.top = `${y}px`;
  };

  /** Whether the slice is shown that the corners were drawn on. */
  function there(view) {
    if (of.study !== viewer.study()?.id || of.plane !== view.plane) return false;
    return view.view.n === null || !points.length || points[0][view.view.n] === viewer.cursor()[view.view.n];
  }

  function draw() {
    const view = viewNow();
    const visible = view?.place && there(view) && (drawing() || points.length > 0);
    if (!visible) {
      if (layer) layer.hidden = true;
      return;
    }
    if (!layer) build();
    if (over !== view.element) {
      over = view.element;
      over.append(layer);
    }
    layer.hidden = false;
    layer.classList.toggle("active", drawing());
    layer.tabIndex = drawing() ? 0 : -1;
    const places = points.map((index) => view.pointAt(index));
    area.setAttribute("points", places.map((place) => place.join(",")).join(" "));
    handles().forEach((node, n) => {
      node.hidden = !drawing();
      put(node, places[n]);
    });
    tip.hidden = !pen || !drawing();
    if (pen) put(tip, view.pointAt(pen));
  }

  /** What /api/roi asks for; null before there are three corners. */
  function polygon() {
    if (points.length < 3 || of.study !== viewer.study()?.id) return null;
    const axis = across();
    const axes = points[0].map((_, one) => one).filter((one) => one !== axis);
    const drawn = { polygon: points.map((index) => axes.map((one) => index[one])) };
    return axis === null ? drawn : { ...drawn, plane: of.plane, slice: points[0][axis] };
  }

  let begun = false;
  state.on("tool", () => {
    if (drawing() === begun) return;
    begun = drawing();
    if (begun) start();
    else draw();
  });
  window.addEventListener("cfcam:drawn", () => {
    if (of.study && of.study !== viewer.study()?.id) {
      of = { study: null, plane: "picture" };
      points = [];
      if (drawing()) state.set({ tool: "none" });
      changed();
    }
    draw();
  });

  root.drawing = { polygon, clear, count: () => points.length, on: (run) => listeners.add(run) };
})();
