"use strict";
/** A prior study beside the current one, on its grid: registered, explained and compared by cfcam compare's code. */
(() => {
  const root = window.cfcam;
  const { el, button, field, select, fill, renew, number, seconds, status, work, roving } = root.kit;

  const SOON = 200; // ms after the last letter before studies are looked for
  const MOST = 20; // studies found at once
  const WAYS = [["rigid", "turn and shift"], ["affine", "also scale and shear"], ["none", "none: as they lie"]];
  const KEPT = 12; // answers

  const answers = new Map(); // id of a prior's map -> the answer that it came with
  let before = null; // what was shown without a prior: {maps, scale, threshold}
  let made = false;
  let restoring = false;
  let list, search, box, way, line, stop, told;
  let offered = null; // {study, priors, others}
  let found = null; // studies found by their name; null: nothing is looked for
  let asked = 0;

  const state = () => root.state.get();
  const of = (kind) => state().maps.map((id) => root.maps.of(id)).find((map) => map?.kind === kind);
  const active = () => root.maps.of(state().maps[state().active]);
  const current = () => (active()?.kind === "evidence" ? active() : of("evidence"));
  /** The answer whose maps are on the screen. */
  const shown = () => answers.get(of("prior")?.id) || null;

  // the comparison itself

  async function ask(prior, registration, options) {
    const body = { study: root.study.id, prior, map: current()?.id ?? null, registration };
    const answer = await root.api.post("/api/compare", body, options);
    for (const one of answer.prior_maps) answers.set(one.id, answer);
    while (answers.size > KEPT) answers.delete(answers.keys().next().value);
    return root.study.id === body.study ? answer : null;
  }

  /** Three pictures in step: the current study, the prior on its grid, and the difference; on one scale, its line where the numbers say hot. */
  function lay(answer, registration) {
    const { maps, scale, threshold, compare } = state();
    const cut = compare && threshold !== null ? threshold : answer.threshold;
    if (!before) before = compare ? { maps: [answer.current.id], scale: "own", threshold: null } : { maps, scale, threshold }; // compare: a link
    const three = [answer.current, ...answer.prior_maps, answer.difference];
    root.maps.add(three);
    root.state.set({ maps: three.map((map) => map.id), active: 0, compare: answer.prior, registration, scale: "common", threshold: cut });
  }

  async function choose(prior, ...rows) {
    const registration = way.value;
    const done = await work(line, "Bringing the prior onto this study", (signal) => ask(prior, registration, { signal }), ...rows, stop);
    if (!done?.result) return;
    lay(done.result, registration);
    line.say(seconds(done.seconds), "ok");
  }

  function leave() {
    const maps = (before?.maps || state().maps).filter((id) => !["prior", "difference", undefined].includes(root.maps.of(id)?.kind));
    const map = current();
    root.state.set({ maps: maps.length ? maps : map ? [map.id] : [], active: 0, compare: null });
    if (line) line.say("");
  }

  /** A link that was opened brings its prior with it; what the server still has is not reckoned anew. */
  async function restore() {
    const { compare, registration } = state();
    if (!compare || restoring || shown()) return;
    restoring = true;
    const done = root.notices.busy("the prior");
    try {
      const answer = await ask(compare, registration);
      if (answer && state().compare === compare) lay(answer, registration);
    } catch (error) {
      leave();
      root.notices.failed(error);
    } finally {
      done();
      restoring = false;
      update();
    }
  }

  /** Where the prior has gone from the screen, nothing stands beside any more. */
  function gone() {
    const { compare, maps, study } = state();
    if (!compare && before) return back();
    if (!compare || restoring || root.study?.id !== study || !maps.every((id) => root.maps.of(id))) return;
    if (!of("prior") && !of("difference")) root.state.set({ compare: null });
  }

  /** Back to the scale and the line that were in use before the prior came. */
  function back() {
    const { scale, threshold } = before;
    before = null;
    root.state.set({ scale, threshold });
  }

  // which study

  function words(prior) {
    const { same_patient: same, days } = prior;
    const when = days === null || days === undefined ? null : days > 0 ? `${days} ${days === 1 ? "day" : "days"} earlier` : days < 0 ? `dated ${-days} days later` : "of the same day";
    return [same ? "same patient" : "patient not known", when].filter(Boolean).join(" · ");
  }

  async function offer() {
    const study = root.study.id;
    if (offered?.study === study) return;
    offered = { study, priors: [], others: 0, waiting: true };
    try {
      const answer = await root.api.get(`/api/studies/${study}/priors`);
      if (offered.study === study) offered = { study, ...answer };
    } catch (error) {
      offered = null;
      line.say(error.message, "error");
    }
    draw();
  }

  async function look() {
    const text = search.value.trim();
    const mine = ++asked;
    if (!text) {
      found = null;
      return draw();
    }
    try {
      const answer = await root.api.get(`/api/studies?${new URLSearchParams({ text, limit: MOST })}`);
      if (mine !== asked) return undefined;
      const known = new Map((offered?.priors || []).map((one) => [one.study.id, one]));
      found = answer.studies.filter((one) => one.kind === root.study.kind && one.id !== root.study.id).map((study) => known.get(study.id) || { study });
    } catch (error) {
      if (mine === asked) line.say(error.message, "error");
    }
    return draw();
  }

  function row(prior) {
    const { study } = prior;
    const picture = study.thumbnail ? el("img", { class: "thumbnail", alt: "", src: root.api.url(study.thumbnail), decoding: "async", draggable: "false" }) : null;
    const made = el(
      "button",
      { type: "button", class: "map-row prior-row", test: "prior", "data-prior": study.id, on: { click: () => choose(study.id, made) } },
      el("span", { class: "frame" }, picture),
      el("span", { class: "grow" }, el("strong", { text: study.name }), el("small", { text: words(prior) })),
    );
    return made;
  }

  function nothing() {
    if (found) return "No study of this name and kind.";
    if (!offered || offered.waiting) return "Looking for priors …";
    if (offered.others) return `${offered.others} other studies are open, and of whom they are is not known: find the prior by its name.`;
    return "No other study of this kind is open: start cfcam view with both.";
  }

  function drawList() {
    const rows = found || offered?.priors || [];
    renew(list, [root.study.id, rows, nothing()], () => (rows.length ? rows.map(row) : [el("p", { class: "hint", test: "no-prior", text: nothing() })]));
    for (const one of list.querySelectorAll("[data-prior]")) one.setAttribute("aria-pressed", String(one.dataset.prior === state().compare));
  }

  // what changed

  const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${number(Math.abs(value))}`;

  const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;

  function changeRows(change) {
    const cell = (value, text = number(value)) => el("td", { text: value === null ? "–" : text, title: value === null ? null : String(value) });
    const unit = change.unit === change.name ? "" : change.unit;
    const limit = change.repeatability === null ? "" : ` (± ${number(change.repeatability)})`;
    const moved = change.change === null ? "–" : change.prior === null ? number(change.change) : signed(change.change);
    return [
      el("tr", { class: "change" }, el("th", { scope: "row", text: change.name }), cell(change.prior), cell(change.current), cell(change.change, moved)),
      el("tr", { class: "verdict-row" }, el("td", { text: unit }), el("td", { colspan: "3", test: "verdict", "data-verdict": change.verdict.split(" ")[0], text: `${change.verdict}${limit}` })),
    ];
  }

  function drawAnswer() {
    const answer = shown();
    renew(told, [answer?.difference.id, answer?.prior], () => {
      if (!answer) return [];
      const head = el("tr", {}, el("td"), ["prior", "current", "change"].map((text) => el("th", { scope: "col", text })));
      return [
        el("div", { class: "buttons" }, button("End the comparison", "compare-end", leave)),
        el("h3", { text: "What changed" }),
        el("p", { class: "what", test: "compare-verdict", text: sentence(answer.verdict) }),
        el("div", { class: "numbers" }, el("table", { class: "changes", test: "changes" }, el("caption", { class: "off-screen", text: "What changed from the prior to the current study" }), el("thead", {}, head), el("tbody", {}, answer.changes.map(changeRows)))),
        el("p", { class: "notice", test: "compare-statement", text: answer.statement }),
        el("p", { class: "hint", test: "compare-quality", text: sentence(answer.quality.text) }),
        ...answer.notices.map((text) => el("p", { class: "hint", text: sentence(text) })),
      ];
    });
  }

  function draw() {
    if (!made || !root.study) return;
    drawList();
    drawAnswer();
    search.parentElement.hidden = !(offered?.others || (offered?.priors || []).length > 6);
  }

  function update() {
    if (!made || !root.study) return;
    if (offered?.study !== root.study.id) {
      found = null;
      search.value = "";
      line.say("");
    }
    if (!root.info.model) {
      fill(box, el("p", { class: "hint", text: "A prior is explained by the network: start cfcam view with --model." }));
      return;
    }
    if (state().compare) way.value = state().registration;
    offer();
    if (state().compare && of("prior") && !shown()) restore();
    draw();
  }

  function mount(element) {
    made = true;
    line = status("compare-status");
    list = el("div", { class: "rows scroll priors", test: "priors" });
    roving(list, "[data-prior]");
    search = el("input", { type: "search", test: "prior-search", autocomplete: "off", spellcheck: "false", placeholder: "name of the prior" });
    let timer;
    search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(look, SOON);
    });
    way = select("compare-registration", WAYS, state().registration);
    stop = button("Stop", "compare-stop", () => {}, { class: "plain stop", hidden: true });
    told = el("div", { class: "section" });
    box = el("div", { class: "section" });
    box.append(el("h3", { text: "The prior" }), field("Find a study", search), list, field("Registration", way), el("div", { class: "buttons" }, stop), line.node, told);
    element.append(box);
    update();
  }

  root.kit.panel({ id: "compare", online: true, icon: "compare", title: "Prior beside", key: "b", mount, update });
  if (!root.api.offline) {
    root.on("study", restore);
    root.state.on(["maps", "compare"], gone);
  }
})();
