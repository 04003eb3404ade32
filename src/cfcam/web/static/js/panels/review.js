"use strict";
/** Accept, reject or amend a map, into the audit. A key opens the form with its verdict; only Enter or the button records. */
(() => {
  const root = window.cfcam;
  const { el, button, field, select, fill, answer, status, work } = root.kit;

  const VERDICTS = [["accept", "Accept"], ["reject", "Reject"], ["amend", "Amend"]];
  // What a record takes of how the map was shown: cfcam.clinical.audit.fields.VIEW.
  const SHOWN = ["opacity", "threshold", "fade", "outline", "palette", "blend", "channel", "window", "scale", "plane", "cursor", "zoom", "pan", "original", "compare", "maps"];

  let form, what, comment, reviewer, instead, other, drawn, line, save, history;
  let radios = [];
  let listed = "";

  const active = () => root.maps.of(root.state.get().maps[root.state.get().active]);
  const verdict = () => radios.find((one) => one.checked)?.value;

  // Maps whose picture was looked at without them since they are shown: a record says so.
  const lookedAt = new Set();
  root.state.on(["original", "maps"], ({ original, maps }) => {
    for (const id of lookedAt) if (!maps.includes(id)) lookedAt.delete(id);
    if (original) maps.forEach((id) => lookedAt.add(id));
  });

  function view(map) {
    const state = { ...root.state.get(), original: lookedAt.has(map.id) };
    return Object.fromEntries(SHOWN.filter((name) => state[name] !== undefined && state[name] !== null).map((name) => [name, state[name]]));
  }

  function amended() {
    if (verdict() !== "amend") return null;
    const found = {};
    if (other.value !== "") found.class_index = Number(other.value);
    if (drawn.checked) Object.assign(found, root.drawing.polygon());
    return Object.keys(found).length ? found : null;
  }

  async function record(event) {
    event?.preventDefault();
    const map = active();
    if (!map) return line.say("no map is shown", "warn");
    if (!verdict()) return line.say("choose accept, reject or amend", "warn");
    if (!reviewer.value.trim()) {
      line.say("say who you are: the record needs a name", "warn");
      return reviewer.focus();
    }
    const body = { study: root.study.id, map: map.id, verdict: verdict(), comment: comment.value.trim(), reviewer: reviewer.value.trim(), amended: amended(), view: view(map) };
    if (body.verdict === "amend" && !body.amended && !body.comment) {
      line.say("say what is amended: a class, a region, or a comment", "warn");
      return comment.focus();
    }
    const done = await work(line, "Recording", () => root.api.post("/api/reviews", body), save);
    if (!done) return undefined;
    const { hash, time } = done.result;
    line.say(`Recorded: ${body.verdict}, ${clock(time)}, ${hash.slice(0, 8)}`, "ok");
    line.node.title = `record ${done.result.record_id}, SHA-256 ${hash}`;
    comment.value = "";
    drawn.checked = false;
    radios.forEach((one) => (one.checked = false));
    choice();
    listed = "";
    root.viewer.focus(); // the next key is no word of a further record
    return refresh();
  }

  const clock = (time) => new Date(time).toLocaleString(undefined, { dateStyle: "short", timeStyle: "short" });

  async function refresh() {
    const map = active();
    const { id } = root.study;
    const key = `${id} ${map?.id}`;
    if (key === listed) return;
    listed = key;
    try {
      const { reviews } = await root.api.get(`/api/reviews?study=${encodeURIComponent(id)}`);
      if (key !== listed) return;
      const rows = reviews.map((one) => {
        const about = root.maps.of(one.map);
        const of = about ? `${about.class_name} · ${about.method}` : one.method || "a map that is no longer here";
        return el("li", { class: one.map === map?.id ? "this" : null, test: "review" }, said(one, of), one.contested ? el("p", { class: "hint", text: "Readers differ on this map." }) : null, earlier(one.history || []));
      });
      fill(history, rows.length ? el("ol", { class: "reviews" }, rows) : el("p", { class: "hint", text: "Nothing is recorded of this study." }));
    } catch (error) {
      listed = "";
      fill(history, el("p", { class: "hint", text: error.message }));
    }
  }

  function said(one, of = "") {
    return [
      el("p", {}, el("strong", { class: `verdict ${one.verdict}`, text: one.verdict }), ` ${of}`),
      one.comment ? el("p", { class: "words", text: one.comment }) : null,
      el("p", { class: "hint", text: `${one.reviewer} · ${clock(one.time)} · ${one.hash.slice(0, 8)}`, title: one.hash }),
    ];
  }

  /** What was said of the map before: it is kept, and no longer counts. */
  function earlier(before) {
    if (!before.length) return null;
    return el("details", { test: "review-history" }, el("summary", { text: `${before.length} before` }), el("ol", { class: "reviews" }, [...before].reverse().map((one) => el("li", {}, said(one)))));
  }

  function classes() {
    const names = root.info?.model?.classes || Object.keys(root.study?.probabilities || {});
    return [["", "as it is"], ...names.map((name, index) => [String(index), name])];
  }

  function choice() {
    instead.hidden = verdict() !== "amend";
    save.textContent = verdict() ? `Record: ${verdict()}` : "Record";
  }

  /** A key: the panel is open, the verdict is chosen, and the next Enter records it. */
  function open(which) {
    if (!active()) return root.notices.toast("no map is shown: there is nothing to accept or reject");
    root.panels.open("review");
    if (!form) return; // there is no audit, which the panel says
    radios.forEach((one) => (one.checked = one.value === which));
    choice();
    line.say(`${which}: Enter records it, Escape does not.`);
    (reviewer.value.trim() ? comment : reviewer).focus();
  }

  function mount(element) {
    if (root.info?.audit === false) {
      element.append(el("p", { class: "hint", text: "There is no audit to record in: start cfcam view with --record FILE." }));
      return;
    }
    line = status("review-status");
    what = el("p", { class: "what", test: "review-of" });
    radios = VERDICTS.map(([value]) => el("input", { type: "radio", name: "verdict", value, id: `verdict-${value}`, test: `verdict-${value}`, on: { change: choice } }));
    const choose = el("fieldset", { class: "verdicts" }, el("legend", { text: "Verdict" }), VERDICTS.map(([value, text], n) => el("span", {}, radios[n], el("label", { for: `verdict-${value}`, text }))));
    comment = el("textarea", { rows: "3", maxlength: "2000", test: "review-comment" });
    comment.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) record(event);
    });
    reviewer = el("input", { type: "text", maxlength: "64", autocomplete: "off", test: "reviewer" });
    reviewer.value = root.info?.reviewer || sessionStorage.getItem("cfcam.reviewer") || "";
    reviewer.readOnly = Boolean(root.info?.reviewer); // the viewer was started for somebody
    reviewer.addEventListener("change", () => sessionStorage.setItem("cfcam.reviewer", reviewer.value.trim()));
    other = select("amend-class", classes(), "");
    drawn = el("input", { type: "checkbox", id: "amend-region", test: "amend-region" });
    instead = el("div", { class: "section", hidden: true }, field("The class should be", other), el("p", { class: "check" }, drawn, el("label", { for: "amend-region", text: "the region that is drawn belongs to it" })));
    save = el("button", { type: "submit", class: "plain primary", text: "Record", test: "review-save" });
    form = el("form", { class: "review", on: { submit: record } }, what, choose, field("Comment", comment, "Enter records, Shift and Enter begins a new line. No patient's name here."), instead, field("Your name", reviewer), el("div", { class: "buttons" }, save), line.node);
    history = el("div", { class: "section", test: "reviews" });
    const links = el("div", { class: "buttons" }, ...["json", "sr"].map((format) => button(format === "sr" ? "Export as DICOM SR" : "Export as JSON", `reviews-${format}`, (event) => take(format, event.currentTarget))));
    element.append(form, el("h3", { text: "Recorded of this study" }), history, links);
    update();
  }

  async function take(format, from) {
    const path = `/api/reviews/export?${new URLSearchParams({ format, study: root.study.id })}`;
    const done = await work(line, "Exporting", () => root.api.file(path, undefined, { method: "GET", body: undefined }), from);
    if (!done) return;
    root.kit.save(done.result.name, done.result.blob); // several documents come as a ZIP
    line.say("exported", "ok");
  }

  let of;
  function update() {
    if (!form || !root.study) return;
    if (of !== root.study.id) {
      if (of) line.say("");
      of = root.study.id;
      fill(other, classes().map(([value, text]) => el("option", { value, text })));
    }
    const map = active();
    what.textContent = map ? `${map.class_name} ${answer(map)} · ${map.method}` : "No map is shown.";
    drawn.disabled = !root.drawing.count();
    if (root.state.get().panel === "review") refresh();
  }

  root.kit.panel({ id: "review", online: true, icon: "review", title: "Review", mount, update });
  if (root.api.offline) return;
  root.keys.add({ key: "a", label: "Accept: choose, then Enter", group: "Review", run: () => open("accept") });
  root.keys.add({ key: "r", label: "Reject: choose, then Enter", group: "Review", run: () => open("reject") });
})();
