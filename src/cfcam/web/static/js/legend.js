"use strict";
/** The foot of the page: the colour bar as it looks over mid-grey beside the pure one, threshold, and opacity. */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const { el } = cfcam.dom;
  const [WIDTH, ROW] = [256, 10]; // pixels of the bar's canvas

  function activeMap() {
    const state = cfcam.state.get();
    return cfcam.viewer.map(state.maps[state.active] || state.maps[0]) || null;
  }

  function drawBar(map) {
    const canvas = document.getElementById("bar-canvas");
    const context = canvas.getContext("2d");
    const image = context.createImageData(WIDTH, 2 * ROW);
    const how = map ? { ...cfcam.viewer.howOf(map), factor: 1 } : { opacity: cfcam.state.get().opacity, blend: cfcam.state.get().blend };
    const colours = cfcam.viewer.paletteOf(map);
    for (let x = 0; x < WIDTH; x++) {
      const seen = cfcam.lut.over(colours, x / (WIDTH - 1), how);
      const pure = colours.subarray(3 * x, 3 * x + 3);
      for (let y = 0; y < 2 * ROW; y++) {
        const at = 4 * (y * WIDTH + x);
        image.data.set(y < ROW ? seen : pure, at);
        image.data[at + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
  }

  let numbered = null;

  function numbers(signed) {
    if (numbered === signed) return;
    numbered = signed;
    const words = signed ? ["−1", "−0.5", "0", "+0.5", "+1"] : ["0", "0.25", "0.5", "0.75", "1"];
    document.getElementById("bar-numbers").replaceChildren(...words.map((word, n) => el("span", { style: `left: ${25 * n}%` }, word)));
  }

  function draw() {
    const state = cfcam.state.get();
    const map = activeMap();
    drawBar(map);
    numbers(map?.kind === "difference");
    const threshold = map ? cfcam.viewer.thresholdOf(map) : state.threshold;
    const tick = document.getElementById("bar-tick");
    tick.hidden = threshold === null;
    if (threshold !== null) tick.style.left = `${100 * Math.min(1, threshold)}%`;
    const slider = document.getElementById("threshold");
    slider.value = String(Math.round(100 * (threshold ?? 0)));
    const own = state.threshold === null && map && map.rule ? ` (${map.rule})` : "";
    const said = threshold === null ? "none" : `${threshold.toFixed(2)}${own}`;
    document.getElementById("threshold-out").textContent = said;
    slider.setAttribute("aria-valuetext", said);
    const opacity = document.getElementById("opacity");
    opacity.value = String(Math.round(100 * state.opacity));
    document.getElementById("opacity-out").textContent = `${Math.round(100 * state.opacity)} %`;
    document.getElementById("bar-note").textContent = note(map, state);
    document.getElementById("original").setAttribute("aria-pressed", String(state.original));
  }

  /** What the numbers at the bar are parts of. */
  function note(map, state) {
    if (map && map.kind === "difference") return "purple: less than in the prior · orange: more";
    const of = state.scale === "common" ? "of the greatest maximum shown" : "of the map's own maximum";
    return `${of}${state.fade ? ", faded below" : ""}`;
  }

  function start() {
    document.getElementById("threshold").addEventListener("input", (event) => cfcam.state.set({ threshold: event.target.value / 100 }));
    document.getElementById("threshold-own").addEventListener("click", () => cfcam.state.set({ threshold: null }));
    document.getElementById("opacity").addEventListener("input", (event) => cfcam.state.set({ opacity: event.target.value / 100 }));
    const original = document.getElementById("original");
    const hold = (down) => () => cfcam.state.set({ original: down });
    original.addEventListener("pointerdown", hold(true));
    for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) original.addEventListener(end, hold(false));
    original.addEventListener("keydown", (event) => { if (event.key === " " || event.key === "Enter") cfcam.state.set({ original: true }); });
    original.addEventListener("keyup", hold(false));
    window.addEventListener("cfcam:drawn", draw);
    draw();
  }

  cfcam.legend = { start, activeMap };
})();
