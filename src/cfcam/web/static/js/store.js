"use strict";
/** Originals and maps as they were fetched, kept up to a number of bytes: `cfcam.store`. */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const BUDGET = 1 << 30; // bytes: what is shown is kept in any case
  const kept = new Map(); // address -> {promise, file, bytes}; the longest unused first
  let inUse = new Set();

  function trim() {
    let total = 0;
    for (const entry of kept.values()) total += entry.bytes;
    for (const [address, entry] of kept) {
      if (total <= BUDGET) return;
      if (inUse.has(address) || !entry.file) continue;
      total -= entry.bytes;
      kept.delete(address);
    }
  }

  /**
   * @param {string} address of a NIfTI file of the server
   * @param {AbortSignal} [signal] ends the waiting
   * @returns {Promise<object>} as `cfcam.nifti.read` gives it
   */
  function file(address, signal) {
    const known = kept.get(address);
    if (known) {
      kept.delete(address);
      kept.set(address, known);
      return known.promise;
    }
    const entry = { file: null, bytes: 0, promise: null };
    entry.promise = cfcam.api.bytes(address, { signal }).then((buffer) => {
      entry.file = cfcam.nifti.read(buffer);
      entry.bytes = buffer.byteLength;
      trim();
      return entry.file;
    }).catch((error) => {
      if (kept.get(address) === entry) kept.delete(address);
      throw error;
    });
    kept.set(address, entry);
    return entry.promise;
  }

  /** @returns {object|null} the file if it is there already */
  function now(address) {
    return kept.get(address)?.file || null;
  }

  /** @param {string[]} addresses of what is shown */
  function use(addresses) {
    inUse = new Set(addresses);
    trim();
  }

  const small = new Map(); // key -> what was reckoned for a plane

  /**
   * @param {string} key says all that the result follows from
   * @param {() => any} make is called if there is none yet; the last 64 results are kept
   */
  function once(key, make) {
    let value = small.get(key);
    if (value === undefined) {
      value = make();
      while (small.size >= 64) small.delete(small.keys().next().value);
    } else {
      small.delete(key);
    }
    small.set(key, value);
    return value;
  }

  function forget() {
    small.clear();
  }

  cfcam.store = { file, now, use, once, forget };
})();
