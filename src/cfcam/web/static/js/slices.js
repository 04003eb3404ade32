"use strict";
/**
 * Planes cut from arrays, coloured on the CPU: exact, and fast without a graphics card. `cfcam.slices`.
 *
 * A plane is `{width, height, data}` with its data row by row as it is shown. Why not a 3-D texture:
 * `python -m benchmarks view-page` measures both without a graphics card: loading and a change of opacity take NiiVue long.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});

  /**
   * @param {{data: TypedArray, channels: number}} file
   * @param {object} grid as `cfcam.grid.of` gives it
   * @param {object} view one of its views
   * @param {number[]} cursor index of the array that the plane goes through
   */
  function cut(file, grid, view, cursor) {
    const { width, height } = view;
    const { data, channels } = file;
    if (grid.picture) return { width, height, channels, data };
    const stepU = grid.strides[view.u] * (view.flipU ? -1 : 1) * channels;
    const stepV = grid.strides[view.v] * (view.flipV ? -1 : 1) * channels;
    let start = cursor[view.n] * grid.strides[view.n] * channels;
    if (view.flipU) start += (width - 1) * grid.strides[view.u] * channels;
    if (view.flipV) start += (height - 1) * grid.strides[view.v] * channels;
    const out = new data.constructor(width * height * channels);
    for (let row = 0, to = 0; row < height; row++) {
      let from = start + row * stepV;
      if (channels === 1) for (let column = 0; column < width; column++, from += stepU) out[to++] = data[from];
      else for (let column = 0; column < width; column++, from += stepU) for (let c = 0; c < channels; c++) out[to++] = data[from + c];
    }
    return { width, height, channels, data: out };
  }

  /**
   * The greatest value along each of the three axes of an array, in one walk through it.
   * @returns {TypedArray[]} for axis n an array of the other two, the lower-numbered axis slowest
   */
  function projections(file, grid) {
    const [d, h, w] = grid.shape;
    const [sd, sh, sw] = grid.strides;
    const { data } = file;
    const low = data instanceof Uint8Array ? 0 : -Infinity;
    const make = (n) => new data.constructor(n).fill(low === 0 ? 0 : data[0]);
    const [across0, across1, across2] = [make(h * w), make(d * w), make(d * h)];
    // the inner loop walks along the axis that lies together in memory
    const inner = sw === 1 ? 2 : 0;
    if (low !== 0) { across0.fill(data.reduce((a, b) => Math.min(a, b), data[0])); across1.fill(across0[0]); across2.fill(across0[0]); }
    if (inner === 2) {
      for (let i = 0; i < d; i++) for (let j = 0; j < h; j++) {
        const base = i * sd + j * sh;
        let best = across2[i * h + j];
        for (let k = 0; k < w; k++) {
          const value = data[base + k];
          if (value > best) best = value;
          if (value > across0[j * w + k]) across0[j * w + k] = value;
          if (value > across1[i * w + k]) across1[i * w + k] = value;
        }
        across2[i * h + j] = best;
      }
    } else {
      for (let k = 0; k < w; k++) for (let j = 0; j < h; j++) {
        const base = k * sw + j * sh;
        let best = across0[j * w + k];
        for (let i = 0; i < d; i++) {
          const value = data[base + i];
          if (value > best) best = value;
          if (value > across1[i * w + k]) across1[i * w + k] = value;
          if (value > across2[i * h + j]) across2[i * h + j] = value;
        }
        across0[j * w + k] = best;
      }
    }
    return [across0, across1, across2];
  }

  /** Likewise of a signed difference, whose middle is 128: along each line what is farthest from it. */
  function farthest(file, grid) {
    const most = projections(file, grid);
    const least = projections({ ...file, data: file.data.map((level) => 255 - level) }, grid);
    return most.map((high, n) => high.map((level, at) => (level - 128 >= 128 - (255 - least[n][at]) ? level : 255 - least[n][at])));
  }

  /** A projection turned as its plane is shown. */
  function projected(all, grid, view) {
    const data = all[view.n];
    const [slow] = [0, 1, 2].filter((axis) => axis !== view.n);
    const columns = grid.shape[slow === view.u ? view.v : view.u];
    const step = (axis) => (axis === slow ? columns : 1);
    const out = new data.constructor(view.width * view.height);
    for (let row = 0, to = 0; row < view.height; row++) {
      const v = (view.flipV ? view.height - 1 - row : row) * step(view.v);
      for (let column = 0; column < view.width; column++) {
        out[to++] = data[v + (view.flipU ? view.width - 1 - column : column) * step(view.u)];
      }
    }
    return { width: view.width, height: view.height, channels: 1, data: out };
  }

  /** Means over squares of `by` pixels, so that a picture of many megapixels costs what the screen shows of it. */
  function reduced(plane, by) {
    if (by <= 1) return plane;
    const { channels } = plane;
    const [width, height] = [Math.ceil(plane.width / by), Math.ceil(plane.height / by)];
    const out = new Float32Array(width * height * channels);
    const counts = new Uint16Array(width * height);
    for (let y = 0; y < plane.height; y++) {
      const base = Math.floor(y / by) * width;
      for (let x = 0, from = y * plane.width * channels; x < plane.width; x++, from += channels) {
        const to = base + Math.floor(x / by);
        counts[to]++;
        for (let c = 0; c < channels; c++) out[to * channels + c] += plane.data[from + c];
      }
    }
    for (let n = 0; n < counts.length; n++) for (let c = 0; c < channels; c++) out[n * channels + c] /= counts[n];
    return { width, height, channels, data: out };
  }

  /**
   * Grey values as the window shows them, 0..255 in floating point (PS3.3 C.11.2.1.2).
   * @param {{low: number, high: number, function: string}} window in the units of the values
   */
  function windowed(plane, file, window) {
    const { data } = plane;
    const out = new Float32Array(data.length);
    if (plane.channels === 3) return Float32Array.from(data);
    const { slope, inter } = file;
    const [low, width] = [window.low, window.high - window.low];
    if (window.function === "SIGMOID") {
      const centre = low + width / 2;
      for (let n = 0; n < data.length; n++) out[n] = 255 / (1 + Math.exp((-4 * (data[n] * slope + inter - centre)) / width));
      return out;
    }
    const a = (255 * slope) / width;
    const b = (255 * (inter - low)) / width;
    for (let n = 0; n < data.length; n++) {
      const grey = data[n] * a + b;
      out[n] = grey < 0 ? 0 : grey > 255 ? 255 : grey;
    }
    return out;
  }

  /**
   * Puts a map over an original into RGBA bytes.
   * @param {Float32Array} grey as `windowed` gives it, one or three channels
   * @param {{data: Uint8Array|Float32Array}|null} map levels 0..255 of the same plane
   * @param {{keep: Float32Array, add: Float32Array}|null} table as `cfcam.lut.table` gives it
   * @param {Uint8ClampedArray} out four bytes a pixel; rounds to the nearest
   */
  function composite(grey, channels, map, table, out) {
    const count = out.length / 4;
    const many = channels === 3;
    for (let n = 0, to = 0; n < count; n++, to += 4) {
      const r = many ? grey[3 * n] : grey[n];
      const g = many ? grey[3 * n + 1] : r;
      const b = many ? grey[3 * n + 2] : r;
      if (map) {
        const level = (map.data[n] + 0.5) | 0;
        const keep = table.keep[level];
        out[to] = r * keep + table.add[3 * level];
        out[to + 1] = g * keep + table.add[3 * level + 1];
        out[to + 2] = b * keep + table.add[3 * level + 2];
      } else {
        out[to] = r;
        out[to + 1] = g;
        out[to + 2] = b;
      }
      out[to + 3] = 255;
    }
  }

  cfcam.slices = { cut, projections, farthest, projected, reduced, windowed, composite };
})();
