"use strict";
/**
 * The mouse over a pane: left click or drag moves the cursor (drag moves a zoomed picture), the middle button or Shift
 * moves the plane, the right button sets the window, the wheel turns slices or zooms. `cfcam.pointer.attach(pane)`.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const state = () => cfcam.state.get();

  /** CSS pixels in the pane's element. */
  function inside(pane, event) {
    const box = pane.element.getBoundingClientRect();
    return [event.clientX - box.left - pane.element.clientLeft, event.clientY - box.top - pane.element.clientTop];
  }

  const indexOf = (pane, event) => cfcam.viewer.indexAt(...inside(pane, event), pane.number);

  function viewOf(pane, event) {
    const plane = cfcam.viewer.planeAt(...inside(pane, event), pane.number);
    return pane.views.find((view) => view.plane === plane) || pane.views[0];
  }

  /** How a drag begins: what each movement does. */
  function began(pane, event) {
    const now = state();
    const view = viewOf(pane, event);
    const { zoom, pan } = now;
    const move = (dx, dy) => cfcam.state.set({
      pan: [pan[0] - dx / (view.view.width * view.place.sx), pan[1] - dy / (view.view.height * view.place.sy)],
    });
    if (event.button === 1 || (event.button === 0 && event.shiftKey)) return move;
    if (event.button === 2) return windowing();
    if (event.button !== 0 || now.tool !== "none") return null;
    if (cfcam.viewer.grid().picture) return zoom > 1 ? move : null;
    return (dx, dy, later) => {
      const index = indexOf(pane, later);
      if (index) cfcam.state.set({ cursor: index });
    };
  }

  /** Right button: to the right wider, down brighter; a drag over 500 px is the whole range of values. */
  function windowing() {
    const { low, high } = cfcam.viewer.windowNow();
    const { values } = cfcam.viewer.study();
    const unit = Math.max(values.max - values.min, high - low) / 500 || 1;
    return (dx, dy) => {
      const width = Math.max(unit, high - low + dx * unit);
      const centre = (low + high) / 2 - dy * unit;
      cfcam.state.set({ window: [centre - width / 2, centre + width / 2].map((value) => Number(value.toPrecision(6))) });
    };
  }

  function click(pane, event) {
    if (event.button !== 0 || event.shiftKey || state().tool !== "none") return;
    const index = indexOf(pane, event);
    if (index) cfcam.state.set({ cursor: index, crosshair: true });
  }

  /** Zooms so that what lies under the pointer stays there. */
  function zoomAt(pane, event, factor) {
    const { zoom, pan } = state();
    const view = viewOf(pane, event);
    const next = Math.min(64, Math.max(0.2, zoom * factor));
    const box = view.canvas.getBoundingClientRect();
    const shift = (at, extent, size, old) => old + ((at - extent / 2) / size) * (1 / zoom - 1 / next) * zoom;
    cfcam.state.set({
      zoom: next,
      pan: next === 1 ? [0, 0] : [
        shift(event.clientX - box.left, box.width, view.view.width * view.place.sx, pan[0]),
        shift(event.clientY - box.top, box.height, view.view.height * view.place.sy, pan[1]),
      ],
    });
  }

  /** Goes through the slices of a plane. */
  function step(by, plane = null) {
    const grid = cfcam.viewer.grid();
    if (!grid || grid.picture) return;
    const wanted = plane || state().plane;
    const view = grid.views[wanted] || grid.views.axial;
    const cursor = cfcam.viewer.cursor().slice();
    cursor[view.n] = Math.min(view.slices - 1, Math.max(0, cursor[view.n] + by));
    cfcam.state.set({ cursor });
  }

  let turned = 0;

  function wheel(pane, event) {
    event.preventDefault();
    if (!cfcam.viewer.grid()) return;
    if (event.ctrlKey || cfcam.viewer.grid().picture) {
      zoomAt(pane, event, Math.exp(-event.deltaY * (event.deltaMode ? 0.03 : 0.0015)));
      return;
    }
    // a notch of a wheel is one slice; a touch pad's many small movements add up
    turned += event.deltaMode ? event.deltaY * 40 : event.deltaY;
    const slices = Math.abs(event.deltaY) >= 50 && !event.deltaMode ? Math.sign(event.deltaY) * Math.max(1, Math.round(Math.abs(event.deltaY) / 120)) : Math.trunc(turned / 40);
    if (!slices) return;
    turned = 0;
    step(slices, viewOf(pane, event).plane);
  }

  function attach(pane) {
    let drag = null;
    const { element } = pane;
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    element.addEventListener("wheel", (event) => wheel(pane, event), { passive: false });
    element.addEventListener("pointerdown", (event) => {
      if (!cfcam.viewer.grid() || !pane.views[0]?.place) return;
      cfcam.state.set({ active: pane.number });
      if (event.button === 1) event.preventDefault();
      const move = began(pane, event);
      drag = { move, x: event.clientX, y: event.clientY, moved: false };
      element.setPointerCapture(event.pointerId);
    });
    element.addEventListener("pointermove", (event) => {
      if (!cfcam.viewer.grid()) return;
      if (drag) {
        const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
        if (Math.hypot(dx, dy) > 3) drag.moved = true;
        if (drag.moved && drag.move) drag.move(dx, dy, event);
      }
      const index = indexOf(pane, event);
      cfcam.viewer.setHover(index && { pane: pane.number, index });
    });
    element.addEventListener("pointerup", (event) => {
      if (drag && !drag.moved) click(pane, event);
      drag = null;
    });
    element.addEventListener("pointercancel", () => { drag = null; });
    element.addEventListener("pointerleave", () => cfcam.viewer.setHover(null));
    element.addEventListener("dblclick", () => {
      if (state().tool === "none") cfcam.state.set({ zoom: 1, pan: [0, 0] });
    });
    element.addEventListener("focus", () => cfcam.state.set({ active: pane.number }));
  }

  cfcam.pointer = { attach, step };
})();
