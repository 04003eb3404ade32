"use strict";
/**
 * How a map's 256 levels become colour: `cfcam.lut`. Pure functions; nothing here knows the page.
 *
 * With v = level / 255 and t the threshold:
 *   value    alpha = opacity * v        (0 is transparent)
 *   uniform  alpha = opacity            (as the first prototypes drew it)
 *   contour  alpha = 0                  (the line alone)
 * and with `fade`, below the threshold, alpha is multiplied by (v / t)²: what is weak fades and is not hidden
 * (Taylor et al. 2023, "Highlight results, don't hide them", NeuroImage 274:120138).
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const MID_GREY = 128;

  /**
   * @param {number} v value in [0, 1]
   * @param {{opacity: number, blend: string, fade?: boolean, threshold?: number|null, signed?: boolean}} how
   *     `signed`: v = 0.5 stands for no difference, so that strength is |2v - 1|
   * @returns {number} opacity of the colour over the original, in [0, 1]
   */
  function alpha(v, { opacity, blend, fade = false, threshold = null, signed = false }) {
    if (blend === "contour") return 0;
    const strength = signed ? Math.abs(2 * v - 1) : v;
    let a = blend === "uniform" ? opacity : opacity * strength;
    if (fade && threshold > 0 && strength < threshold) a *= (strength / threshold) ** 2;
    return a;
  }

  /**
   * The table that a map is drawn with: over grey g of the original, channel c of level n becomes
   * round(g * keep[n] + add[3n + c]).
   * @param {Uint8Array} colours 256 x RGB
   * @param {object} how as `alpha`; `factor` multiplies v first (a common scale), never beyond 1
   * @returns {{keep: Float32Array, add: Float32Array}} 256 and 768 numbers
   */
  function table(colours, how) {
    const keep = new Float32Array(256);
    const add = new Float32Array(768);
    for (let n = 0; n < 256; n++) {
      const v = Math.min(1, (n / 255) * (how.factor ?? 1));
      const at = 3 * Math.floor(255 * v + 0.5);
      const a = alpha(v, how);
      keep[n] = 1 - a;
      for (let c = 0; c < 3; c++) add[3 * n + c] = a * colours[at + c];
    }
    return { keep, add };
  }

  /** @returns {number[]} RGB of a value over a grey, as `table` draws it; for the colour bar. */
  function over(colours, v, how, grey = MID_GREY) {
    const at = 3 * Math.floor(255 * Math.min(1, Math.max(0, v)) + 0.5);
    const a = alpha(v, how);
    return [0, 1, 2].map((c) => Math.round(grey * (1 - a) + a * colours[at + c]));
  }

  /** @returns {Uint8Array} the 768 bytes of a palette as the server sends them */
  function decode(base64) {
    const text = atob(base64);
    if (text.length !== 768) throw new Error(`a palette of ${text.length} bytes, not 768`);
    return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  }

  /** @returns {Uint8Array} a palette for when the server offers none: black to white */
  function grey() {
    return Uint8Array.from({ length: 768 }, (_, n) => Math.floor(n / 3));
  }

  cfcam.lut = { alpha, table, over, decode, grey, MID_GREY };
})();
