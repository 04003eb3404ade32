"use strict";
/** What panels share: elements that are made without innerHTML, numbers for people, and work that says how long it takes. */
(() => {
  const root = (window.cfcam = window.cfcam || {});

  const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "hidden"]);

  /** `cfcam.dom.el` said shortly: `text`, `test` (data-testid), `on: {event: listener}`, properties, else attributes. */
  function el(tag, given = {}, ...children) {
    const { text, test, on = {}, ...rest } = given;
    const properties = {};
    const attr = {};
    for (const [name, value] of Object.entries(rest)) {
      if (value === undefined || value === null) continue;
      if (PROPERTIES.has(name)) properties[name] = value;
      else if (value !== false) attr[name] = value === true ? "" : value;
    }
    if (text !== undefined && text !== null) properties.textContent = text;
    return root.dom.el(tag, { ...properties, on, data: test ? { testid: test } : {}, attr }, ...children.flat(2).filter(Boolean));
  }

  const button = (text, test, run, given = {}) => el("button", { type: "button", class: "plain", text, test, on: { click: run }, ...given });

  let made = 0;
  /** A control with its label above it. */
  function field(label, control, hint) {
    control.id = control.id || `panel-field-${++made}`;
    const note = hint ? el("small", { class: "hint", id: `${control.id}-hint`, text: hint }) : null;
    if (note) control.setAttribute("aria-describedby", note.id);
    return el("div", { class: "field" }, el("label", { for: control.id, text: label }), control, note);
  }

  function select(test, options, chosen, run) {
    const list = options.map(([value, text]) => el("option", { value, text, selected: value === chosen }));
    return el("select", { test, on: { change: (event) => run?.(event.target.value) } }, list);
  }

  const fill = (node, ...children) => node.replaceChildren(...children.flat(2).filter((child) => child));

  /** Fills a node anew only if what it shows follows from something else than before: what has the focus stays. */
  function renew(node, from, make) {
    const key = JSON.stringify(from);
    if (node.dataset.from === key) return;
    node.dataset.from = key;
    fill(node, make());
  }

  /** A number as people read it: three digits that count, no exponents; every digit stands in the title. */
  function number(value, digits = 3) {
    if (value === null || value === undefined) return "–";
    if (!Number.isFinite(value)) return String(value);
    if (Number.isInteger(value)) return String(value);
    const size = Math.abs(value);
    if (size >= 10 ** (digits - 1)) return value.toFixed(size >= 1000 ? 0 : 1);
    return Number(value.toPrecision(digits)).toString();
  }

  const margin = (value) => `margin ${value > 0 ? "+" : value < 0 ? "−" : ""}${number(Math.abs(value))}`;
  /** What stands beside an explained class; `margin` is a contrast's. */
  const answer = (map) => (map.margin === null || map.margin === undefined ? root.dom.percent(map.probability) : margin(map.margin));

  const seconds = (value) => (value < 0.095 ? `${Math.max(1, Math.round(1000 * value))} ms` : `${value.toFixed(1)} s`);

  /** The line of a panel in which it says what became of its work; read aloud when it changes. */
  function status(test) {
    const node = el("p", { class: "panel-status", role: "status", test });
    return {
      node,
      say(text, kind = "") {
        node.textContent = text;
        node.dataset.kind = kind;
      },
    };
  }

  /**
   * Runs work for buttons: off meanwhile, its seconds told quietly, an error in one line.
   * @param {object} line as `status` makes it
   * @param {string} doing what is waited for
   * @param {(signal: AbortSignal) => Promise} run does it
   * @param {...HTMLElement} buttons that began it; one with the class "stop" ends it, and is seen only meanwhile
   * @returns {Promise<{result: any, seconds: number}|undefined>} undefined: it failed, which has been said
   */
  async function work(line, doing, run, ...buttons) {
    const stop = buttons.find((one) => one.classList.contains("stop"));
    const others = buttons.filter((one) => one !== stop);
    if (others.some((one) => one.getAttribute("aria-disabled") === "true")) return undefined;
    const begun = performance.now();
    const spent = () => (performance.now() - begun) / 1000;
    const leaving = new AbortController();
    const leave = () => leaving.abort();
    const busy = (yes) => {
      others.forEach((one) => one.setAttribute("aria-disabled", String(yes))); // not disabled: the focus stays
      line.node.setAttribute("aria-live", yes ? "off" : "polite"); // a count of seconds is for the eye
      if (stop) stop.hidden = !yes;
    };
    busy(true);
    stop?.addEventListener("click", leave);
    const tick = setInterval(() => line.say(`${doing} … ${spent().toFixed(0)} s`, "busy"), 1000);
    const first = setTimeout(() => line.say(`${doing} …`, "busy"), 120);
    try {
      return { result: await run(leaving.signal), seconds: spent() };
    } catch (error) {
      line.say(error?.status === -1 ? "stopped" : error?.message || String(error), error?.status === -1 ? "" : "error");
      return undefined;
    } finally {
      clearInterval(tick);
      clearTimeout(first);
      stop?.removeEventListener("click", leave);
      busy(false);
    }
  }

  /** Hands a file to the user. */
  function save(name, content, type = "application/octet-stream") {
    const blob = content instanceof Blob ? content : new Blob([content], { type });
    const link = el("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  /** Puts a text on the clipboard, also on pages without a secure origin. */
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = el("textarea", { value: text, class: "off-screen", "aria-hidden": "true" });
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) throw new Error("the browser does not allow copying: select the text and copy it yourself");
    }
  }

  /** Arrow keys, Home and End go through the buttons of a list; Tab leaves it. */
  function roving(list, selector) {
    list.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const all = [...list.querySelectorAll(selector)];
      const at = all.indexOf(document.activeElement.closest(selector));
      if (at < 0) return;
      event.preventDefault();
      event.stopPropagation();
      all[Math.min(all.length - 1, Math.max(0, at + step))].focus();
    });
  }

  /**
   * `cfcam.panels.add`, whose `update` is called also when a study was opened or maps came, once the panel was made. One
   * that is `online` is nothing for the offline file.
   */
  function panel({ online = false, ...given }) {
    if (online && root.api.offline) return;
    let made = false;
    const update = () => made && given.update?.(root.state.get());
    root.panels.add({
      ...given,
      update,
      mount(element) {
        given.mount(element);
        made = true;
      },
    });
    root.on("study", update);
    root.on("maps", update);
  }

  root.kit = { panel, el, button, field, select, fill, renew, number, answer, seconds, status, work, save, copy, roving };
})();
