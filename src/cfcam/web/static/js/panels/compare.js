"use strict";
/** A prior study beside the current one, brought onto its grid by cfcam compare's registration. */
(() => {
  const root = window.cfcam;
  const { el, button, field, select, fill, number, answer, seconds, status, work } = root.kit;

  let box, line, of;
  const results = new Map(); // "study prior map" -> the answer to it

  const active = () => root.maps.of(root.state.get().maps[root.state.get().active]);

  function options() {
    const names = root.study.prior_names || {};
    return (root.study.priors || []).map((id) => [id, names[id] || id]);
  }

  async function compare(prior, ...buttons) {
    const map = active();
    const body = { study: root.study.id, prior, map: map?.id ?? null };
    const key = `${body.study} ${prior} ${body.map}`;
    const done = results.has(key)
      ? { result: results.get(key), seconds: 0 }
      : await work(line, "Bringing the prior onto this grid", () => root.api.post("/api/compare", body), ...buttons);
    if (!done || root.study.id !== body.study) return;
    results.set(key, done.result);
    root.maps.add(done.result.prior_maps);
    const others = done.result.prior_maps.map((one) => one.id);
    root.state.set({ maps: [...new Set([map?.id, ...others])].filter(Boolean).slice(0, 6), active: 0, compare: prior });
    line.say(done.seconds ? `${seconds(done.seconds)}` : "", "ok");
    draw();
  }

  function leave() {
    const kept = root.state.get().maps.filter((id) => root.maps.of(id)?.kind !== "prior" && root.maps.of(id)?.kind !== "difference");
    root.state.set({ maps: kept, active: 0, compare: null });
    line.say("");
    draw();
  }

  /** What changed, as Python says it: words, or numbers by name. */
  function changes(result) {
    const found = result.changes;
    if (!found) return null;
    if (typeof found === "string") return el("p", { text: found });
    const rows = Array.isArray(found) ? found.map((one) => [one.name ?? one.measure, one.text ?? one.value, one.unit, one.note]) : Object.entries(found).map(([name, value]) => [name.replaceAll("_", " "), value]);
    const cells = (value, unit) => (typeof value === "number" ? `${number(value)}${unit ? ` ${unit}` : ""}` : Array.isArray(value) ? value.map((one) => (typeof one === "number" ? number(one) : one)).join(", ") : String(value ?? "–"));
    return el("table", { test: "changes" }, el("caption", { class: "off-screen", text: "What changed" }), el("tbody", {}, rows.map(([name, value, unit, more]) => el("tr", {}, el("th", { scope: "row", text: name }), el("td", { text: cells(value, unit), title: more || String(value) })))));
  }

  function draw() {
    if (!box || !root.study) return;
    const { compare: shown } = root.state.get();
    const list = options();
    if (!list.length) {
      fill(box, el("p", { class: "hint", text: "There is no other study of this patient among what was opened." }));
      return;
    }
    const which = select("prior", list, shown || list[0][0]);
    const lay = button("Lay beside", "compare-run", () => compare(which.value, lay), { class: "plain primary" });
    const end = shown && button("End", "compare-end", leave);
    const result = shown && [...results].find(([key]) => key.startsWith(`${root.study.id} ${shown} `))?.[1];
    const pair = result && [...(active() ? [active()] : []), ...result.prior_maps].map((one) => el("p", { class: "what", text: `${one.kind === "prior" ? "prior" : one.kind === "difference" ? "difference" : "current"}: ${one.class_name} ${answer(one)}` }));
    const quality = result?.quality;
    const how = quality && (typeof quality === "string" ? quality : quality.text || Object.entries(quality).map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "number" ? number(value) : value}`).join(" · "));
    fill(
      box,
      field("Prior study", which),
      el("div", { class: "buttons" }, lay, end || null),
      pair || null,
      how ? el("p", { class: "hint", test: "compare-quality", text: `Registration: ${how}` }) : null,
      result ? changes(result) : null,
      (result?.notices || []).map((text) => el("p", { class: "notice", text })),
      el("p", { class: "hint", text: "A change of the map is not a change of disease." }),
    );
  }

  root.kit.panel({
    id: "compare",
    online: true,
    icon: "compare",
    title: "Prior beside current",
    key: "b",
    mount(element) {
      line = status("compare-status");
      box = el("div");
      element.append(box, line.node);
      draw();
    },
    update(state) {
      const now = `${state.study} ${state.compare} ${(root.study?.priors || []).length}`;
      if (now === of) return;
      of = now;
      draw();
    },
  });
})();
