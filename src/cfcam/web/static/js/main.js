"use strict";
/** Begins: reads what the viewer can do, restores the permalink, opens the first study, and keeps the address in step. */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const { percent } = cfcam.dom;
  const element = (id) => document.getElementById(id);

  /** The class that the network takes the study for, and with which probability. */
  function diagnosis(study) {
    const known = Object.entries(study.probabilities || {}).sort(([, a], [, b]) => b - a)[0];
    if (study.predicted) return [study.predicted, study.probability ?? study.probabilities?.[study.predicted] ?? null];
    return known || [null, null];
  }

  function head() {
    const study = cfcam.study;
    if (!study) return;
    const [name, probability] = diagnosis(study);
    element("study-name").textContent = study.name;
    element("predicted").textContent = name || "";
    element("probability").textContent = percent(probability);
    element("diagnosis").hidden = !name;
    const label = study.label && study.label !== name ? `labelled ${study.label}` : "";
    element("label").textContent = label;
    element("label").hidden = !label;
    document.title = `${study.name} – cfcam`;
  }

  // the address: a new study is a new entry of the history, everything else replaces the last one

  let writing = 0;
  let written = null; // the study of the newest entry

  function address() {
    clearTimeout(writing);
    const { study } = cfcam.state.get();
    const link = cfcam.state.permalink();
    if (!study || link === location.hash) return;
    if (written !== null && written !== study) history.pushState(null, "", link);
    else history.replaceState(null, "", link);
    written = study;
  }

  /** Shows what a fragment says. */
  async function restore(hash) {
    const patch = cfcam.state.restore(hash);
    const before = cfcam.study && cfcam.study.id;
    written = patch.study;
    cfcam.state.set(patch);
    if (patch.study && patch.study !== before) await cfcam.go(patch.study, { keep: true });
    else if (!patch.study && before) cfcam.state.set({ study: before });
  }

  async function begin() {
    const text = location.hash;
    if (/(^#|&)study=/.test(text)) {
      await restore(text);
      if (!/&maps=/.test(text) && cfcam.study) await firstMap();
    } else {
      const list = await cfcam.api.get("/studies?offset=0&limit=1");
      if (list.studies.length) await cfcam.go(list.studies[0].id);
      else element("empty").hidden = false;
    }
  }

  /** A link that names a study alone shows its first map. */
  async function firstMap() {
    const map = cfcam.viewer.maps().find((one) => (one.kind ?? "evidence") === "evidence");
    if (map) cfcam.viewer.show([map]);
  }

  const fold = () => cfcam.state.set({ list: !cfcam.state.get().list });

  function buttons() {
    const step = (by) => () => cfcam.studies && cfcam.studies.step(by);
    element("list-toggle").addEventListener("click", fold);
    element("previous").addEventListener("click", step(-1));
    element("next").addEventListener("click", step(1));
    cfcam.keys.add({ key: ["n", "]"], label: "Next study", group: "Study", run: step(1) });
    cfcam.keys.add({ key: ["p", "["], label: "Previous study", group: "Study", run: step(-1) });
    cfcam.keys.add({ key: "e", label: "List of studies", group: "Study", run: fold });
    cfcam.keys.add({
      key: "Escape", label: "Close the panel", group: "More",
      run: () => { cfcam.state.set({ panel: null, tool: "none" }); cfcam.viewer.focus(); },
    });
    element("link").addEventListener("click", async () => {
      address();
      try {
        await navigator.clipboard.writeText(location.href);
        cfcam.notices.toast("the link to this view is copied");
      } catch {
        cfcam.notices.toast("the address of this page is the link to this view: copy it from the browser's bar");
      }
    });
  }

  function layout(state) {
    document.body.classList.toggle("with-list", state.list);
    element("studies").hidden = !state.list;
    element("list-toggle").setAttribute("aria-expanded", String(state.list));
  }

  async function start() {
    cfcam.notices.start();
    cfcam.info = await cfcam.api.get("/info");
    const usual = cfcam.info.default || {};
    cfcam.state.usual({ palette: usual.palette, opacity: usual.opacity, blend: usual.blend, list: window.innerWidth > 1000 });
    element("disclaimer").textContent = cfcam.info.disclaimer;
    cfcam.viewer.start(cfcam.info);
    cfcam.legend.start();
    cfcam.panels.start();
    cfcam.display.keys();
    cfcam.help.start();
    buttons();
    if (cfcam.studies) cfcam.studies.mount(element("studies"));
    cfcam.display.panel();
    cfcam.state.on("list", layout);
    layout(cfcam.state.get());
    cfcam.on("study", head);
    cfcam.on("maps", head);
    cfcam.state.on(null, () => { clearTimeout(writing); writing = setTimeout(address, 200); });
    window.addEventListener("popstate", () => restore(location.hash).catch(cfcam.notices.failed));
    window.addEventListener("cfcam:retry", () => location.reload());
    await begin();
  }

  window.addEventListener("DOMContentLoaded", () => start().catch(cfcam.notices.failed));
})();
