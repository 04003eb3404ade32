"use strict";
/**
 * Reads the NIfTI-1 files that the server sends: one uncompressed 3-D array of uint8, int16, uint16, int32, float32
 * or RGB24. `cfcam.nifti.read(buffer)`; the array is a view of the buffer, nothing is copied unless it lies askew.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const TYPES = { 2: Uint8Array, 4: Int16Array, 8: Int32Array, 16: Float32Array, 512: Uint16Array, 128: Uint8Array };

  /**
   * @param {ArrayBuffer} buffer the file
   * @returns {{dims: number[], data: TypedArray, channels: 1|3, slope: number, inter: number, affine: number[][]|null}}
   *     dims: lengths of the axes, the fastest first; affine: index in the file's order -> mm, RAS+
   */
  function read(buffer) {
    const view = new DataView(buffer);
    if (buffer.byteLength < 352 || view.getInt32(0, true) !== 348) throw new Error("the server sent no NIfTI-1 file");
    const rank = view.getInt16(40, true);
    const dims = [0, 1, 2].map((n) => (n < rank ? view.getInt16(42 + 2 * n, true) : 1));
    const code = view.getInt16(70, true);
    const Type = TYPES[code];
    if (!Type) throw new Error(`a NIfTI file of type ${code}: this page reads uint8, int16, uint16, float32 and RGB24`);
    const channels = code === 128 ? 3 : 1;
    const offset = view.getFloat32(108, true);
    const count = dims[0] * dims[1] * dims[2] * channels;
    if (offset + count * Type.BYTES_PER_ELEMENT > buffer.byteLength) throw new Error("the file broke off: reload the page");
    const aligned = offset % Type.BYTES_PER_ELEMENT === 0;
    const data = aligned ? new Type(buffer, offset, count) : new Type(buffer.slice(offset), 0, count);
    const slope = view.getFloat32(112, true);
    const rows = [280, 296, 312].map((at) => [0, 4, 8, 12].map((step) => view.getFloat32(at + step, true)));
    return {
      dims, data, channels,
      slope: slope || 1, inter: slope ? view.getFloat32(116, true) : 0,
      affine: view.getInt16(254, true) > 0 ? [...rows, [0, 0, 0, 1]] : null,
    };
  }

  cfcam.nifti = { read };
})();
