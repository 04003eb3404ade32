"use strict";
/** How far a map can be relied on: how much it varies, and what the same method shows without what the network learnt. */
(() => {
  const root = window.cfcam;
  const { el, button, seconds, status, work } = root.kit;

  const KINDS = [
    ["uncertainty", "Uncertainty", "Where the map varies when the picture is changed a little: shifted, turned, made larger and smaller, and given noise. Bright: it varies much."],
    ["control", "Control", "The same method on the network with its weights drawn at random. A map that looks like it says little about what was learnt."],
  ];

  let box, line;

  const active = () => root.maps.of(root.state.get().maps[root.state.get().active]);
  const base = () => {
    const map = active();
    return map && map.kind === "evidence" ? map : root.state.get().maps.map((id) => root.maps.of(id)).find((one) => one?.kind === "evidence");
  };

  function beside(maps) {
    const { maps: shown } = root.state.get();
    const more = maps.map((one) => one.id).filter((id) => !shown.includes(id));
    root.state.set({ maps: [...shown, ...more].slice(0, 6) });
  }

  async function show(kind, name, ...buttons) {
    const map = base();
    if (!map) return line.say("no map is shown that this could be measured of", "warn");
    const body = { study: root.study.id, map: map.id, kind };
    const done = await work(line, `${name} of ${map.method}`, (signal) => root.api.post("/api/layers", body, { signal }), ...buttons);
    if (!done || root.study.id !== body.study) return undefined;
    root.maps.add(done.result.maps);
    beside(done.result.maps);
    return line.say([seconds(done.seconds), done.result.text, ...(done.result.notices || [])].filter(Boolean).join(" · "), "ok");
  }

  root.kit.panel({
    id: "layers",
    online: true,
    icon: "layers",
    title: "Uncertainty and control",
    key: "u",
    mount(element) {
      line = status("layers-status");
      box = el("div", { class: "section" });
      const runs = []; // while one is at work the others wait
      for (const [kind, name, text] of KINDS) {
        const stop = button("Stop", `layer-${kind}-stop`, () => {}, { class: "plain stop", hidden: true });
        const run = button(`${name} beside the map`, `layer-${kind}`, () => show(kind, name, ...runs, stop));
        runs.push(run);
        box.append(el("h3", { text: name }), el("p", { class: "hint", text }), el("div", { class: "buttons" }, run, stop));
      }
      element.append(box, line.node);
    },
  });
})();
