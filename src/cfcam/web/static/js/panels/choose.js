"use strict";
/** What is explained, and how: the maps there are, and a new one of any class, method and layer. */
(() => {
  const root = window.cfcam;
  const { el, button, field, select, fill, renew, answer, seconds, status, work, roving } = root.kit;
  const { percent } = root.dom;

  const MOST = 60; // classes in the list at once; the search finds the others

  let made, fresh, classes, method, layer, against, note, line, told, names;
  let chosen = "predicted"; // name of a class, or "predicted"
  let drawn; // study that the panel shows
  let wanted = "";

  const evidence = () => root.maps.all().filter((map) => map.kind === "evidence");
  const active = () => root.maps.of(root.state.get().maps[root.state.get().active]);

  /** All classes with their probabilities, the most probable first; without a picture's answer in the network's order. */
  function known() {
    const found = root.study?.probabilities;
    if (found) return Object.entries(found).sort((a, b) => b[1] - a[1]);
    return (root.info?.model?.classes || []).map((name) => [name, null]);
  }

  function drawMade() {
    const maps = evidence();
    renew(made, maps, () =>
      maps.length
        ? maps.map((map) =>
            el(
              "button",
              { type: "button", class: "map-row", test: `map-${map.id}`, "data-map": map.id, on: { click: () => show(map, false) } },
              el("span", { class: "grow" }, el("strong", { text: map.class_name }), ` ${map.method}`, map.layer ? el("small", { text: map.layer }) : null),
              el("span", { class: "figure", text: map.status === "ok" ? answer(map) : map.status }),
            ),
          )
        : [el("p", { class: "hint", text: "No map of this picture yet." })],
    );
    const shown = root.state.get().maps;
    for (const row of made.querySelectorAll("[data-map]")) row.setAttribute("aria-pressed", String(shown.includes(row.dataset.map)));
  }

  function drawClasses() {
    const words = wanted.toLowerCase();
    const all = known();
    const found = all.filter(([name]) => name.toLowerCase().includes(words));
    renew(classes, found.slice(0, MOST), () => {
      const rows = found.slice(0, MOST).map(classRow);
      const more = found.length - rows.length;
      if (!rows.length) rows.push(el("p", { class: "hint", text: all.length ? "No class of this name." : "The network's classes have no names: its first map tells them." }));
      return more > 0 ? [...rows, el("p", { class: "hint", text: `${more} more: search for a name` })] : rows;
    });
    renew(names, all.map(([name]) => name), () => all.map(([name]) => el("option", { value: name })));
    for (const row of classes.querySelectorAll("[data-class]")) row.setAttribute("aria-pressed", String(row.dataset.class === chosen));
  }

  function classRow([name, p]) {
    const bar = p === null ? null : el("span", { class: "bar", "aria-hidden": "true" });
    if (bar) bar.style.width = `${100 * p}%`;
    return el(
      "button",
      { type: "button", class: "class-row", test: "class", "data-class": name, on: { click: () => pick(name) } },
      bar,
      el("span", { class: "grow", text: name }),
      el("span", { class: "figure", text: percent(p), title: p === null ? null : String(p) }),
    );
  }

  function pick(name) {
    chosen = chosen === name ? "predicted" : name;
    drawClasses();
  }

  const target = () => {
    const other = against.value.trim();
    const first = chosen === "predicted" && other ? known()[0]?.[0] : chosen;
    return other ? `${first} vs ${other}` : chosen;
  };

  /** The map that was asked for, if it is there already. */
  function existing() {
    const name = against.value.trim() ? target() : chosen === "predicted" ? root.study?.predicted : chosen;
    const place = layer.value || root.info?.model?.layer;
    return evidence().find((map) => map.method === method.value && map.class_name === name && (!place || map.layer === place));
  }

  /** Lays a map over the active picture, or beside the others. */
  function show(map, beside) {
    const { maps, active: at } = root.state.get();
    const there = maps.indexOf(map.id);
    if (there >= 0) return root.state.set({ active: there });
    if (beside && maps.length >= 6) return line.say("six maps are the most: close one", "warn");
    const next = [...maps];
    next[beside ? maps.length : at] = map.id;
    return root.state.set({ maps: next, active: beside ? maps.length : at });
  }

  async function make(beside, ...buttons) {
    const found = existing();
    if (found) {
      show(found, beside);
      return line.say("already there", "ok");
    }
    const body = { study: root.study.id, methods: [method.value], targets: [target()], layer: layer.value || null };
    const done = await work(line, `${method.value}: ${body.targets[0]}`, (signal) => root.api.post("/api/explain", body, { signal }), ...buttons);
    if (!done || root.study.id !== body.study) return undefined;
    const { result } = done;
    if (result.probabilities) root.study.probabilities = result.probabilities;
    root.maps.add(result.maps);
    show(result.maps[0], beside);
    const forward = result.seconds?.forward;
    const spent = `${seconds(done.seconds)}${forward ? `, the network ${seconds(forward)}` : ""}`;
    told.textContent = (result.notices || []).join(". ");
    const { status: state } = result.maps[0];
    return line.say(state === "ok" ? spent : `${state} · ${spent}`, state === "ok" ? "ok" : "warn");
  }

  function describe() {
    const found = (root.info?.methods || []).find((one) => one.name === method.value);
    note.textContent = found?.text || "";
  }

  function mount(element) {
    made = el("div", { class: "rows scroll", role: "group", "aria-label": "Maps of this picture", test: "maps-made" });
    roving(made, "button");
    element.append(el("h3", { text: "Maps of this picture" }), made);
    fresh = el("div", { class: "section" });
    element.append(fresh);
    build();
    drawMade();
  }

  function build() {
    line = line || status("choose-status");
    if (root.api.offline || !root.info?.model) {
      fill(fresh, el("p", { class: "hint", text: root.api.offline ? "This file holds the maps that were made; the network is not in it." : "No network was named: start cfcam view with --model to make new maps." }));
      classes = null;
      return;
    }
    const search = el("input", { type: "search", test: "class-search", autocomplete: "off", spellcheck: "false" });
    search.addEventListener("input", () => {
      wanted = search.value.trim();
      drawClasses();
    });
    classes = el("div", { class: "rows scroll", role: "group", "aria-label": "Classes", test: "classes" });
    roving(classes, "button");
    search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") {
        event.preventDefault();
        classes.querySelector("button")?.focus();
      }
    });
    names = el("datalist", { id: "panel-class-names" });
    against = el("input", { type: "text", list: names.id, test: "class-against", autocomplete: "off", spellcheck: "false", placeholder: "nothing" });
    method = select("method", root.info.methods.map((one) => [one.name, one.name]), active()?.method || root.info.methods[0]?.name, describe);
    note = el("p", { class: "hint", test: "method-text" });
    layer = select("layer", [], "");
    const over = button("Show", "explain-show", () => make(false, over, beside, stop), { class: "plain primary" });
    const beside = button("Show beside", "explain-beside", () => make(true, over, beside, stop));
    const stop = button("Stop", "explain-stop", () => {}, { class: "plain stop", hidden: true });
    told = el("p", { class: "hint" });
    fill(
      fresh,
      el("h3", { text: "Another map" }),
      field("Find a class", search),
      classes,
      field("Against the class", against, "What speaks for the one rather than for the other"),
      names,
      field("Method", method),
      note,
      field("Layer", layer),
      el("div", { class: "buttons" }, over, beside, stop),
      line.node,
      told,
    );
    describe();
    drawClasses();
    drawLayers();
  }

  function drawLayers() {
    const { layer: own, layers } = root.info.model;
    renew(layer, [own, layers], () => [
      el("option", { value: "", text: own ? `${own} (chosen)` : "chosen by cfcam" }),
      ...(layers || []).filter((name) => name !== own).map((name) => el("option", { value: name, text: name })),
    ]);
  }

  let asking = null; // the study that the network is being loaded for, or could not be
  /** Who opens this panel wants to choose: the network is loaded, for only then are its layers and classes known. */
  async function learn() {
    const { study, info } = root;
    if (info.model.loaded || !study || asking === study.id || root.state.get().panel !== "choose") return;
    asking = study.id;
    const done = await work(line, `loading ${info.model.name}`, (signal) => root.api.post("/api/model", { study: study.id }, { signal }));
    if (!done) return;
    root.info = { ...root.info, model: done.result };
    line.say("");
    drawClasses();
    drawLayers();
  }

  root.kit.panel({
    id: "choose",
    icon: "map",
    title: "Class and method",
    key: "k",
    mount,
    update(state) {
      if (!made) return;
      if (drawn !== state.study) {
        drawn = state.study;
        chosen = "predicted";
        line.say("");
        if (told) told.textContent = "";
      }
      drawMade();
      if (!classes) return;
      drawClasses();
      learn();
    },
  });
})();
