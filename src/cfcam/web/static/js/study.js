"use strict";
/**
 * The open study for everybody: `cfcam.study`, `cfcam.info`, `cfcam.maps`, `cfcam.on`, `cfcam.go`, `cfcam.explain`.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const listeners = { study: [], maps: [], moved: [] };

  /** @param {"study"|"maps"|"moved"} event a study was opened, maps were added, the view was drawn anew */
  function on(event, run) {
    listeners[event].push(run);
  }

  function tell(event, ...what) {
    for (const run of listeners[event]) run(...what);
  }

  /** Takes maps in and tells those who list them. */
  function add(list) {
    cfcam.viewer.add(list);
    if (list.length) tell("maps", list);
  }

  /** Keeps to the method and the class that were looked at last, where the next study has them. */
  let liked = null;

  function remember() {
    const map = cfcam.legend.activeMap();
    if (map) liked = { method: map.method, class_index: map.class_index };
  }

  /** @returns {object[]} what is shown of a study at first: one map, or none */
  function first(list) {
    const evidence = list.filter((map) => (map.kind ?? "evidence") === "evidence");
    const same = liked && evidence.filter((map) => map.method === liked.method);
    const pick = (same && (same.find((map) => map.class_index === liked.class_index) || same[0])) || evidence[0];
    return pick ? [pick] : [];
  }

  /**
   * Opens a study; what is shown of it follows from the state, else the first map.
   * @param {string} id
   * @param {{keep?: boolean}} [how] keep: the state's maps, cursor and zoom stand already (a permalink)
   */
  async function go(id, { keep = false } = {}) {
    if (cfcam.study && cfcam.study.id === id && !keep) return;
    if (!keep) remember();
    const wanted = ++go.asked;
    try {
      const detail = await cfcam.api.get(`/studies/${encodeURIComponent(id)}`);
      if (wanted !== go.asked) return;
      const list = cfcam.viewer.mapList(detail);
      if (!keep) {
        cfcam.state.set({ study: id, maps: first(list).map((map) => map.id), active: 0, cursor: null, zoom: 1, pan: [0, 0], window: null, compare: null, threshold: null });
      }
      cfcam.study = detail;
      if (!(await cfcam.viewer.open(detail))) return;
      for (const line of detail.notices || []) cfcam.notices.toast(line);
      detail.notices = [...new Set([...(detail.notices || []), ...(learned.get(id) || [])])];
      tell("study", detail);
      if (keep) forgotten();
      if (!cfcam.state.get().maps.length && !keep) await explainFirst();
    } catch (error) {
      if (wanted === go.asked) cfcam.notices.failed(error);
    }
  }
  go.asked = 0;

  /** Maps of a permalink that nobody knows any more. */
  function forgotten() {
    const { maps } = cfcam.state.get();
    const there = maps.filter((id) => cfcam.viewer.map(id));
    if (there.length === maps.length || cfcam.state.get().compare) return; // a comparison brings its own maps anew
    cfcam.state.set({ maps: there, active: 0 });
    cfcam.notices.toast("a map of this link is no longer kept by the viewer: make it again under Class and method", "error");
  }

  /** With a network at hand, a study without maps gets its first one. */
  async function explainFirst() {
    if (cfcam.api.offline) return;
    if (!cfcam.info.model) {
      cfcam.notices.toast("no network was named: start cfcam view with --model to make maps");
      return;
    }
    const usual = cfcam.info.default || {};
    const method = liked?.method || (usual.methods && usual.methods[0]) || cfcam.info.methods[0]?.name;
    const mine = cfcam.study.id;
    const answer = await explain({ methods: [method], targets: usual.targets?.length ? usual.targets.slice(0, 1) : ["predicted"] });
    if (answer && cfcam.study.id === mine && !cfcam.state.get().maps.length) cfcam.viewer.show(answer.maps.slice(0, 1));
  }

  const learned = new Map(); // id of a study -> what the network's answers said of it

  /** Says what is new of a study, once; then it stands with its other notices, under About. */
  function learn(study, lines) {
    const fresh = lines.filter((line) => !(study.notices || []).includes(line));
    for (const line of fresh) cfcam.notices.toast(line);
    study.notices = [...(study.notices || []), ...fresh];
    learned.set(study.id, [...(learned.get(study.id) || []), ...fresh]);
  }

  /**
   * Asks for maps of the open study.
   * @param {{methods: string[], targets?: (number|string)[], layer?: string|null}} what
   * @returns {Promise<object|null>} the answer; null: it failed, which has been said
   */
  async function explain({ methods, targets = ["predicted"], layer = null }, options) {
    const study = cfcam.study;
    const done = cfcam.notices.busy(methods.join(", "));
    try {
      const answer = await cfcam.api.post("/explain", { study: study.id, methods, targets, layer }, options);
      done(answer.seconds?.total ?? answer.seconds?.forward);
      if (cfcam.study !== study) return answer;
      if (answer.probabilities) study.probabilities = answer.probabilities;
      learn(study, answer.notices || []);
      add(answer.maps);
      return answer;
    } catch (error) {
      done();
      cfcam.notices.failed(error);
      return null;
    }
  }

  window.addEventListener("cfcam:drawn", () => tell("moved"));

  Object.assign(cfcam, { on, go, explain, study: null, info: null, maps: { of: (id) => cfcam.viewer.map(id), all: () => cfcam.viewer.maps(), add } });
})();
