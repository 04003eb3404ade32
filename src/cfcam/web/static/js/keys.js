"use strict";
/**
 * Keys and their help: `cfcam.keys.add({key, label, group, run, hold?})`.
 *
 * `key` is what `KeyboardEvent.key` says, with "Shift+" before letters and arrows where it is held ("Shift+M"), or an
 * array of such. `run(event, down)` is called when the key goes down; with `hold`, also with `down = false` when it is let go.
 * Nothing happens while somebody writes into a field, nor with Ctrl, Alt or Meta; Escape leaves the field.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const all = [];
  const held = new Map(); // code of the physical key -> what was begun with it

  function name(event) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const shifted = event.shiftKey && (/^[a-z]$/.test(key) || event.key.length > 1);
    return (shifted ? "Shift+" : "") + key;
  }

  const plain = (key) => (/^(Shift\+)?[A-Za-z]$/.test(key) ? key.replace(/.$/, (letter) => letter.toLowerCase()) : key);

  /** Whether keys belong to what has the focus: fields that take text, lists, and open dialogs. */
  function busy(event) {
    const target = event.target;
    if (!(target instanceof Element)) return false;
    if (target.closest("textarea, select, [contenteditable='true']")) return true;
    const field = target.closest("input");
    if (field && !["checkbox", "radio", "range", "button"].includes(field.type)) return true;
    if (field && ["range", "radio"].includes(field.type) && /^(Arrow|Page|Home|End)/.test(event.key)) return true;
    return false;
  }

  function down(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (busy(event)) {
      if (event.key !== "Escape" || event.isComposing) return;
      if (!event.target.closest("#panel")) return event.target.blur();
    }
    const dialog = document.querySelector("dialog[open]");
    const key = name(event);
    const found = all.find((entry) => entry.keys.includes(key));
    if (!found || (dialog && !found.inDialog)) return;
    if ((event.key === " " || event.key === "Enter") && event.target.closest?.("button, a, summary, input")) return;
    event.preventDefault();
    if (found.hold) {
      if (event.repeat) return;
      held.set(event.code, found);
    }
    found.run(event, true);
  }

  function up(event) {
    const found = held.get(event.code);
    if (!found) return;
    held.delete(event.code);
    found.run(event, false);
  }

  function letGo() {
    for (const found of held.values()) found.run(null, false);
    held.clear();
  }

  /** @param {{key: string|string[], label: string, group?: string, run: Function, hold?: boolean, shown?: string}} entry */
  function add(entry) {
    const keys = [].concat(entry.key).map(plain);
    const taken = all.find((other) => other.keys.some((key) => keys.includes(key)));
    if (taken) throw new Error(`the key ${keys.join(", ")} is taken by "${taken.label}"`);
    all.push({ group: "More", ...entry, keys });
  }

  const NAMES = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", " ": "Space" };

  /** @returns {string} how a key is written in the help, such as "Shift M" */
  function written(key) {
    return key.split(/(?<=Shift)\+/).map((part) => NAMES[part] || (part.length === 1 ? part.toUpperCase() : part)).join(" ");
  }

  /** @returns {Map<string, {label: string, keys: string[]}[]>} what the help lists, by group */
  function list() {
    const groups = new Map();
    for (const entry of all) {
      if (!groups.has(entry.group)) groups.set(entry.group, []);
      groups.get(entry.group).push({ label: entry.label, keys: entry.shown ? [entry.shown] : entry.keys.map(written) });
    }
    return groups;
  }

  window.addEventListener("keydown", down);
  window.addEventListener("keyup", up);
  window.addEventListener("blur", letGo);

  cfcam.keys = { add, list, written };
})();
