"use strict";
/**
 * What is shown: one flat object, its listeners, and its permalink.
 *
 * | key | value |
 * |---|---|
 * | study | id, or null |
 * | maps | ids of the maps shown, one a pane (none: the original alone) |
 * | active | which pane, from 0 |
 * | opacity | 0..1 |
 * | threshold | 0..1; null: each map's own |
 * | fade | below the threshold the map fades as (v / t)² |
 * | outline | a line at the threshold |
 * | palette, blend | name; "value", "uniform" or "contour" |
 * | channel | which channel of a volume lies under the maps, from 0 |
 * | window | [low, high] in the source's units; null: the channel's own |
 * | scale | "own": each map over its maximum; "common": over the greatest maximum of those shown |
 * | plane | "axial", "coronal", "sagittal", "all" or "mip" |
 * | cursor | index of the source's array: [row, col] or [d, h, w]; null: the middle, or the peak |
 * | zoom, pan | 1 is the whole plane; the centre's shift in parts of the plane's width and height |
 * | smooth | neighbouring pixels are blended on the screen |
 * | crosshair | the cursor's cross is drawn |
 * | original | the original alone, while a key is held |
 * | compare | id of the prior that stands beside, or null |
 * | registration | how that prior was brought onto this study: "rigid", "affine" or "none" |
 * | tool, panel | "none", "polygon" or "threshold"; the open side panel |
 * | list | the list of studies is unfolded |
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});

  const defaults = {
    study: null, maps: [], active: 0, opacity: 0.4, threshold: null, fade: false, outline: true, palette: "inferno",
    blend: "value", channel: 0, window: null, scale: "own", plane: "axial", cursor: null, zoom: 1, pan: [0, 0], smooth: true,
    crosshair: false, original: false, compare: null, registration: "rigid", tool: "none", panel: null, list: true,
  };
  const allowed = {
    blend: ["value", "uniform", "contour"], scale: ["own", "common"], tool: ["none", "polygon", "threshold"],
    plane: ["axial", "coronal", "sagittal", "all", "mip"], registration: ["rigid", "affine", "none"],
  };
  const always = ["study", "maps", "opacity", "palette", "blend"]; // said even when usual: usual things may change
  const never = ["original"]; // a held key
  const limits = { opacity: [0, 1], threshold: [0, 1], zoom: [0.2, 64], active: [0, 5], channel: [0, 32767] };

  let now = structuredClone(defaults);
  const listeners = [];

  const same = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);

  /** @returns {object} the state; to be read, not written. */
  function get() {
    return now;
  }

  /**
   * Changes some keys and tells those who listen to them.
   * @param {object} patch keys and values; unknown keys throw, for they are mistakes
   */
  function set(patch) {
    const changed = [];
    for (const [key, value] of Object.entries(patch)) {
      if (!(key in defaults)) throw new Error(`cfcam.state has no key ${key}`);
      if (!same(now[key], value)) changed.push(key);
    }
    if (!changed.length) return;
    now = { ...now, ...patch };
    for (const listener of [...listeners]) {
      if (!listener.keys || listener.keys.some((key) => changed.includes(key))) listener.run(now, changed);
    }
  }

  /**
   * @param {string[]|string|null} keys which; null: any
   * @param {(state: object, changed: string[]) => void} run called after each change of one of them
   * @returns {() => void} stops it
   */
  function on(keys, run) {
    const listener = { keys: keys === null ? null : [].concat(keys), run };
    listeners.push(listener);
    return () => listeners.splice(listeners.indexOf(listener), 1);
  }

  const short = (number) => String(Number(number.toFixed(4)));

  function written(value) {
    if (typeof value === "boolean") return value ? "1" : "0";
    if (typeof value === "number") return short(value);
    if (Array.isArray(value)) return value.map((part) => (typeof part === "number" ? short(part) : part)).join(",");
    return String(value);
  }

  /** @returns {string} the URL's fragment that shows what is shown now, such as "#study=s-1&maps=m-2&opacity=0.4". */
  function permalink() {
    const parts = [];
    for (const key of Object.keys(defaults)) {
      const value = now[key];
      if (never.includes(key) || value === null || (!always.includes(key) && same(value, defaults[key]))) continue;
      if (Array.isArray(value) && !value.length) {
        if (key === "maps" && now.study) parts.push("maps=");
        continue;
      }
      parts.push(`${key}=${encodeURIComponent(written(value)).replaceAll("%2C", ",")}`);
    }
    return `#${parts.join("&")}`;
  }

  function numbers(text, count) {
    const list = text.split(",").map(Number);
    return list.every(Number.isFinite) && count.includes(list.length) ? list : undefined;
  }

  /** One key as a permalink writes it; undefined: not to be understood, and left alone. */
  function read(key, text) {
    const usual = defaults[key];
    if (key === "maps") return text ? text.split(",").slice(0, 6) : [];
    if (key === "window") {
      const pair = numbers(text, [2]);
      return pair && pair[0] < pair[1] ? pair : undefined;
    }
    if (key === "cursor") return numbers(text, [2, 3])?.map((part) => Math.max(0, Math.round(part)));
    if (key === "pan") return numbers(text, [2])?.map((part) => Math.min(4, Math.max(-4, part)));
    if (typeof usual === "boolean") return text === "1";
    if (key in limits) {
      const [value] = numbers(text, [1]) || [undefined];
      return value === undefined ? undefined : Math.min(limits[key][1], Math.max(limits[key][0], value));
    }
    if (key in allowed) return allowed[key].includes(text) ? text : undefined;
    return /^[\w.+ -]{1,80}$/.test(text) ? text : undefined;
  }

  /**
   * @param {string} hash a fragment as `permalink` writes it; what cannot be understood is left out
   * @returns {object} a patch for `set`, with the defaults where the fragment is silent
   */
  function restore(hash) {
    const patch = structuredClone(defaults);
    delete patch.original;
    for (const part of hash.replace(/^#/, "").split("&")) {
      const at = part.indexOf("=");
      const key = part.slice(0, at);
      if (at < 1 || !Object.hasOwn(defaults, key) || never.includes(key)) continue;
      let text;
      try {
        text = decodeURIComponent(part.slice(at + 1));
      } catch {
        continue; // a broken escape
      }
      const value = read(key, text);
      if (value !== undefined) patch[key] = value;
    }
    return patch;
  }

  /** Takes the server's defaults before anything is shown. */
  function usual(patch) {
    for (const [key, value] of Object.entries(patch)) if (key in defaults && value !== undefined) defaults[key] = value;
    now = { ...now, ...patch };
  }

  cfcam.state = { get, set, on, permalink, restore, usual, defaults };
})();
