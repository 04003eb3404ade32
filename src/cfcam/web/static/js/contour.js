"use strict";
/** Lines at a level of a plane by marching squares, linear between the centres of pixels: `cfcam.contour.lines`. */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});

  /**
   * @param {{width: number, height: number, data: ArrayLike<number>}} plane
   * @param {number} level what is at least as high lies inside
   * @returns {Float32Array} x0, y0, x1, y1 of each piece, in pixels; 0 is the first pixel's centre. What is inside at the
   *     rim is closed half a pixel outside of the plane's centres.
   */
  function lines(plane, level) {
    const { width, height, data } = plane;
    const found = [];
    const value = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? -1 : data[y * width + x]);
    const clampX = (x) => Math.min(width - 0.5, Math.max(-0.5, x));
    const clampY = (y) => Math.min(height - 0.5, Math.max(-0.5, y));
    for (let y = -1; y < height; y++) {
      const inRows = y >= 0 && y < height - 1;
      for (let x = -1, at = y * width - 1; x < width; x++, at++) {
        const inside = inRows && x >= 0 && x < width - 1;
        const a = inside ? data[at] : value(x, y);
        const b = inside ? data[at + 1] : value(x + 1, y);
        const c = inside ? data[at + width + 1] : value(x + 1, y + 1);
        const d = inside ? data[at + width] : value(x, y + 1);
        const which = (a >= level ? 1 : 0) | (b >= level ? 2 : 0) | (c >= level ? 4 : 0) | (d >= level ? 8 : 0);
        if (which === 0 || which === 15) continue;
        const part = (from, to) => (from === to ? 0.5 : (level - from) / (to - from));
        const top = () => [clampX(x + part(a, b)), clampY(y)];
        const right = () => [clampX(x + 1), clampY(y + part(b, c))];
        const bottom = () => [clampX(x + part(d, c)), clampY(y + 1)];
        const left = () => [clampX(x), clampY(y + part(a, d))];
        const piece = (from, to) => found.push(from[0], from[1], to[0], to[1]);
        const middle = (a + b + c + d) / 4 >= level;
        if (which === 1 || which === 14) piece(left(), top());
        else if (which === 2 || which === 13) piece(top(), right());
        else if (which === 4 || which === 11) piece(right(), bottom());
        else if (which === 8 || which === 7) piece(bottom(), left());
        else if (which === 3 || which === 12) piece(left(), right());
        else if (which === 6 || which === 9) piece(top(), bottom());
        else if ((which === 5) === middle) { piece(top(), right()); piece(bottom(), left()); }
        else { piece(left(), top()); piece(right(), bottom()); }
      }
    }
    return Float32Array.from(found);
  }

  cfcam.contour = { lines };
})();
