"use strict";
/** What is shown, as files: picture, report, DICOM objects, numbers, raw maps; and the address of this very view. */
(() => {
  const root = window.cfcam;
  const { el, button, renew, status, work, save, copy } = root.kit;

  const FORMATS = [
    ["png", "PNG", "The picture as it stands here, with its colour bar."],
    ["pdf", "PDF", "A report: original beside map, numbers, limits."],
    ["dicom", "DICOM", "Objects for the archive, of DICOM studies."],
    ["json", "JSON", "Every number, with how it was made."],
  ];

  let box, line, every, raw;

  const shown = () => root.state.get().maps.map((id) => root.maps.of(id)).filter(Boolean);
  const wanted = () => (every?.checked ? root.maps.all() : shown());

  async function take(format, from) {
    const own = wanted().filter((one) => one.kind !== "prior" && one.kind !== "difference"); // a file is of one study
    const maps = own.map((one) => one.id);
    if (!maps.length) return line.say("no map of this study is shown: show one first", "warn");
    const body = { study: root.study.id, maps, format, view: root.state.get() };
    const done = await work(line, `Writing ${format.toUpperCase()}`, () => (root.api.offline ? offline(format) : root.api.file("/api/exports", body)), from);
    if (!done) return undefined;
    save(done.result.name, done.result.blob);
    const without = own.length < wanted().length ? ", without the prior" : "";
    return line.say(`${done.result.name}, ${size(done.result.blob.size)}${without}`, "ok");
  }

  const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} KB` : `${(bytes / 1e6).toFixed(1)} MB`);

  /** What the file itself can write, without a server. */
  async function offline(format) {
    const name = root.study.name;
    if (format === "png") {
      return { name: `${name}.png`, blob: await root.viewer.png() };
    }
    const { probabilities, ...study } = root.study;
    const plain = { cfcam: root.info.version, model: root.info.model?.name ?? null, disclaimer: root.info.disclaimer, study: { ...study, probabilities }, maps: wanted() };
    return { name: `${name}.json`, blob: new Blob([`${JSON.stringify(plain, null, 1)}\n`], { type: "application/json" }) };
  }

  function rawRows() {
    const maps = shown();
    const link = (map, ending, text, more) => button(text, `raw-${ending}`, (event) => fetchRaw(map, ending, event.currentTarget), { "aria-label": `${text} of ${map.method}, ${map.class_name}`, ...more });
    const row = (map) =>
      el("div", { class: "raw-row" }, el("span", { class: "grow", text: `${map.class_name} · ${map.method}` }), root.api.offline ? link(map, "nii", "NIfTI (levels)") : [link(map, "npy", "NumPy"), link(map, "nii", "NIfTI")]);
    renew(raw, maps.map((map) => map.id), () => (maps.length ? maps.map(row) : [el("p", { class: "hint", text: "No map is shown." })]));
  }

  async function fetchRaw(map, ending, from) {
    const base = map.url.replace(/\.nii(\?.*)?$/, "");
    const path = root.api.offline ? map.url : ending === "npy" ? `${base}.npy` : `${base}.nii?raw=1`;
    const done = await work(line, "Reading the map", () => root.api.bytes(path), from);
    if (!done) return;
    const name = `${root.study.name}_${map.method}_${map.class_name}.${ending}`.replace(/[^\w.+-]+/g, "-");
    save(name, done.result);
    line.say(`${name}, ${size(done.result.byteLength)}`, "ok");
  }

  function mount(element) {
    line = status("export-status");
    const formats = root.api.offline ? FORMATS.filter(([format]) => format === "png" || format === "json") : FORMATS;
    every = el("input", { type: "checkbox", id: "export-every", test: "export-every" });
    raw = el("div", { class: "section" });
    box = el(
      "div",
      { class: "section" },
      formats.map(([format, name, text]) => el("div", { class: "format" }, button(name, `export-${format}`, (event) => take(format, event.currentTarget)), el("span", { class: "hint", text }))),
      el("p", { class: "check" }, every, el("label", { for: "export-every", text: "all maps of this picture, not only those shown" })),
    );
    const link = button("Copy the address of this view", "permalink", async () => {
      try {
        await copy(location.origin === "null" || location.protocol === "file:" ? location.href.replace(/#.*/, "") + root.state.permalink() : location.origin + location.pathname + root.state.permalink());
        line.say("copied: it opens exactly this view", "ok");
      } catch (error) {
        line.say(error.message, "error");
      }
    });
    element.append(box, el("h3", { text: "Raw maps" }), raw, el("h3", { text: "Permalink" }), el("div", { class: "buttons" }, link), line.node);
    rawRows();
  }

  root.kit.panel({ id: "export", icon: "share", title: "Export", key: "x", mount, update: () => raw && rawRows() });
})();
