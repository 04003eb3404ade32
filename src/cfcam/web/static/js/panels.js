"use strict";
/**
 * The rail of side panels: `cfcam.panels.add({id, title, key, icon, mount(element), update?(state)})`.
 *
 * A panel is mounted when it is first opened; `update` is called then, and at each change of the state while it is open.
 * `key` opens and shuts it. At most one is open.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const { el, icon } = cfcam.dom;
  const all = [];

  function element(id) {
    return document.getElementById(id);
  }

  /** @param {{id: string, title: string, key?: string, icon?: string, mount: Function, update?: Function}} panel */
  function add(panel) {
    const button = el("button.tool", {
      type: "button", title: panel.key ? `${panel.title} (${cfcam.keys.written(panel.key)})` : panel.title,
      data: { testid: `panel-${panel.id}` }, aria: { label: panel.title, pressed: "false", controls: "panel" },
      on: { click: () => toggle(panel.id) },
    }, icon(panel.icon || panel.id), el("span.tool-label", {}, panel.title));
    element("rail").append(button);
    all.push({ ...panel, button, body: null });
    if (panel.key) cfcam.keys.add({ key: panel.key, label: panel.title, group: "Panels", run: () => toggle(panel.id) });
    show(cfcam.state.get());
  }

  function toggle(id) {
    const state = cfcam.state.get();
    cfcam.state.set({ panel: state.panel === id ? null : id });
  }

  function open(id) {
    cfcam.state.set({ panel: id });
  }

  let shown = null;

  function show(state) {
    const panel = all.find((one) => one.id === state.panel) || null;
    for (const one of all) one.button.setAttribute("aria-pressed", String(one === panel));
    const place = element("panel");
    document.body.classList.toggle("with-panel", panel !== null);
    place.hidden = panel === null;
    if (panel !== shown) {
      shown = panel;
      if (panel && !panel.body) {
        panel.body = el("div.panel-body", { data: { testid: `body-${panel.id}` } });
        panel.mount(panel.body);
      }
      element("panel-title").textContent = panel ? panel.title : "";
      element("panel-content").replaceChildren(...(panel ? [panel.body] : []));
    }
    if (panel && panel.update) panel.update(state);
  }

  /** Called once, when the page stands. */
  function start() {
    element("panel-close").addEventListener("click", () => {
      const button = shown && shown.button;
      cfcam.state.set({ panel: null });
      if (button) button.focus();
    });
    cfcam.state.on(null, show);
    show(cfcam.state.get());
  }

  cfcam.panels = { add, toggle, open, start };
})();
