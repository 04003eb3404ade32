"use strict";
/** What stands under the pointer, or at the cursor: place, value and the map's value, in every pane. */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});

  const number = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(4));

  /** @returns {string} such as "R 12.3, A 4.0, S 30.1 mm": in the patient, each coordinate with the side it lies on */
  function patientText(mm) {
    return `${mm.map((at, way) => `${["LR", "PA", "IS"][way][at >= 0 ? 1 : 0]} ${Math.abs(at).toFixed(1)}`).join(", ")} mm`;
  }

  /** @param {number[]} index of the source's array; @param {number} pane */
  function text(index, pane) {
    const grid = cfcam.viewer.grid();
    const study = cfcam.viewer.study();
    const { grey, map, kind } = cfcam.viewer.valueAt(index, pane);
    if (grey === null) return "";
    const parts = [];
    if (map !== null && !cfcam.state.get().original) parts.push(kind === "difference" ? `difference ${map < 0 ? "−" : "+"}${Math.abs(map).toFixed(2)}` : `map ${map.toFixed(2)}`);
    const unit = study.values && study.values.unit ? ` ${study.values.unit}` : "";
    parts.push(Array.isArray(grey) ? `RGB ${grey.join(" ")}` : `${number(grey)}${unit}`);
    parts.push(grid.picture ? `row ${index[0]}, column ${index[1]}` : `[${index.join(", ")}]`);
    const place = cfcam.grid.patient(grid, index);
    if (place) parts.push(patientText(place));
    else if (grid.spacing) parts.push(`${index.map((at, axis) => (at * grid.spacing[axis]).toFixed(1)).join(", ")} mm${study.measured ? ` ${study.measured}` : ""}`);
    return parts.join(" · ");
  }

  function draw() {
    if (!cfcam.viewer.grid()) return;
    const hover = cfcam.viewer.hover();
    const state = cfcam.state.get();
    const index = hover ? hover.index : state.crosshair ? cfcam.viewer.cursor() : null;
    for (const pane of cfcam.viewer.panes()) {
      pane.readout.hidden = !index;
      if (index) pane.readout.textContent = text(index, pane.number);
    }
  }

  window.addEventListener("cfcam:drawn", draw);
  cfcam.readout = { text, patientText };
})();
