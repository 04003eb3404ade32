"use strict";
/**
 * How an array lies in the patient and on the screen: `cfcam.grid.of(detail, file)`.
 *
 * Radiological convention, as in the figures of cfcam: the patient's right is on the left of axial and coronal planes,
 * anterior on the left of sagittal ones. A picture is drawn as it is stored, row by row. An axis of the array is taken
 * for the patient's direction that is nearest to it; an oblique volume is shown along its own axes.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});

  const EDGES = { axial: ["R", "L", "A", "P"], coronal: ["R", "L", "S", "I"], sagittal: ["A", "P", "S", "I"] };
  const NORMAL = { axial: 2, coronal: 1, sagittal: 0 }; // of the axes R, A, S
  const OPPOSITE = { R: "L", L: "R", A: "P", P: "A", S: "I", I: "S", H: "F", F: "H" };
  const ORDERS = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

  const length = (affine, axis) => Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]);

  /**
   * @param {number[][]} affine 4 x 4, index -> mm RAS+
   * @returns {{order: number[], flips: boolean[]}} which axis of the array becomes R, A and S, and whether it runs the
   *     other way; of all assignments that with the greatest sum of cosines
   */
  function turned(affine) {
    const cosine = (way, axis) => affine[way][axis] / (length(affine, axis) || 1);
    const sum = (order) => order.reduce((all, axis, way) => all + Math.abs(cosine(way, axis)), 0);
    let best = ORDERS[0];
    for (const order of ORDERS) if (sum(order) > sum(best) + 1e-9) best = order;
    return { order: best, flips: best.map((axis, way) => cosine(way, axis) < 0) };
  }

  /** Steps in the file for each axis of the source's array: the same order as the file's axes, or the reverse. */
  function strides(shape, file, affine) {
    const forward = shape.every((n, axis) => n === file.dims[axis]);
    const backward = shape.every((n, axis) => n === file.dims[2 - axis]);
    if (!forward && !backward) throw new Error(`the file is ${file.dims.join(" x ")}, the study ${shape.join(" x ")}: reload the page`);
    let reversed = !forward;
    if (forward && backward && affine && file.affine) {
      const off = (turn) => [0, 1, 2].reduce((sum, axis) => sum + [0, 1, 2].reduce(
        (part, row) => part + Math.abs(affine[row][axis] - file.affine[row][turn ? 2 - axis : axis]), 0), 0);
      reversed = off(true) < off(false);
    }
    const [a, b] = file.dims;
    return reversed ? [a * b, a, 1] : [1, a, a * b];
  }

  function letters(edges) {
    if (!edges || edges.length !== 2 || !edges[0] || !edges[1]) return null;
    const named = { H: "S", F: "I" };
    const far = (text) => [...text].map((letter) => OPPOSITE[letter] || "").join("");
    const all = [far(edges[0]), edges[0], far(edges[1]), edges[1]];
    return all.map((text) => [...text].map((letter) => named[letter] || letter).join(""));
  }

  function pictureGrid(detail, file) {
    const shape = detail.shape.slice(0, 2);
    const [dr, dc] = detail.spacing || [null, null];
    const view = {
      plane: "picture", u: 1, v: 0, n: null, flipU: false, flipV: false, width: shape[1], height: shape[0],
      du: dc || 1, dv: dr || 1, edges: letters(detail.edges),
    };
    const affine = detail.affine && detail.placed !== false ? detail.affine : null;
    return { picture: true, shape, strides: [shape[1], 1], affine, spacing: detail.spacing || null, views: { picture: view } };
  }

  /**
   * @param {object} detail what the server says of the study: kind, shape, spacing, affine, edges, placed
   * @param {{dims: number[], affine: number[][]|null}} file of its original
   * @returns {{picture: boolean, shape: number[], strides: number[], affine, spacing, views: Object<string, object>}}
   *     a view: which axis of the array runs along the screen (u), down it (v) and through it (n), which of them
   *     backwards, its size in voxels, their distances du and dv in mm, and the letters left, right, top, bottom
   */
  function of(detail, file) {
    if (detail.kind === "picture") return pictureGrid(detail, file);
    const shape = detail.shape.slice(-3);
    const placed = detail.affine && detail.placed !== false;
    const { order, flips } = placed ? turned(detail.affine) : { order: [0, 1, 2], flips: [false, false, false] };
    const spacing = detail.spacing || (detail.affine ? [0, 1, 2].map((axis) => length(detail.affine, axis)) : [1, 1, 1]);
    const views = {};
    for (const plane of Object.keys(NORMAL)) {
      const [first, second] = [0, 1, 2].filter((way) => way !== NORMAL[plane]);
      const [u, v, n] = [order[first], order[second], order[NORMAL[plane]]];
      views[plane] = {
        plane, u, v, n, flipU: !flips[first], flipV: !flips[second], width: shape[u], height: shape[v],
        du: spacing[u] || 1, dv: spacing[v] || 1, slices: shape[n], edges: placed ? EDGES[plane] : null,
        up: !flips[NORMAL[plane]], way: NORMAL[plane],
      };
    }
    return {
      picture: false, shape, strides: strides(shape, file, detail.affine), affine: placed ? detail.affine : null, spacing, views,
    };
  }

  /** @returns {number[]|null} mm in the patient, RAS+, of an index of the array */
  function patient(grid, index) {
    if (!grid.affine) return null;
    return [0, 1, 2].map((row) => index.reduce((sum, at, axis) => sum + grid.affine[row][axis] * at, grid.affine[row][3]));
  }

  /** @returns {number[]} column and row (whole or not) in a view's plane of an index of the array; 0 is a voxel's centre */
  function toPlane(view, index) {
    const u = view.flipU ? view.width - 1 - index[view.u] : index[view.u];
    const v = view.flipV ? view.height - 1 - index[view.v] : index[view.v];
    return [u, v];
  }

  /** The reverse of `toPlane`; the axis through the screen is taken from `cursor`. */
  function fromPlane(view, [u, v], cursor) {
    const index = cursor.slice();
    index[view.u] = view.flipU ? view.width - 1 - u : u;
    index[view.v] = view.flipV ? view.height - 1 - v : v;
    return index;
  }

  cfcam.grid = { of, turned, patient, toPlane, fromPlane };
})();
