"use strict";
/** The list of studies: only the rows in view exist, and a picture is asked for when its row has come to rest. */
(() => {
  const root = window.cfcam;
  const { el, field, select, fill } = root.kit;
  const { percent } = root.dom;

  const ROW = 64; // CSS pixels; --study-row of panels.css
  const PAGE = 100; // studies asked for at once
  const SPARE = 6; // rows above and below the window
  const REST = 80; // ms without scrolling before thumbnails are asked for

  const SORTS = [
    ["name", "Name"],
    ["predicted", "Class"],
    ["probability", "Most certain first"],
    ["status", "State"],
    ["label", "Label"],
  ];

  let text = "";
  let sort = "name";
  let total = 0;
  let pages = new Map(); // number of a page -> its studies, or the promise of them
  let asked = 0; // which question the pages answer
  let marked = 0; // row that the keyboard is on
  let list, inner, count, resting;

  const query = (offset) => `/api/studies?${new URLSearchParams({ offset, limit: PAGE, text, sort })}`;

  function page(number) {
    if (!pages.has(number)) {
      const question = asked;
      const promise = root.api.get(query(number * PAGE)).then(
        (answer) => {
          if (question !== asked) return [];
          pages.set(number, answer.studies);
          if (answer.total !== total) setTotal(answer.total);
          draw();
          return answer.studies;
        },
        (error) => {
          pages.delete(number);
          if (question === asked) count.textContent = error.message;
          return [];
        },
      );
      pages.set(number, promise);
    }
    return pages.get(number);
  }

  function row(at) {
    const found = page(Math.floor(at / PAGE));
    return Array.isArray(found) ? found[at % PAGE] : undefined;
  }

  function setTotal(value) {
    total = value;
    inner.style.height = `${total * ROW}px`;
    const what = text ? `${total} of these words` : `${total} ${total === 1 ? "study" : "studies"}`;
    count.textContent = total || !text ? what : "none of these words";
  }

  function restart() {
    asked += 1;
    pages = new Map();
    marked = 0;
    list.scrollTop = 0;
    return Promise.resolve(page(0)).then(markCurrent);
  }

  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
    const last = Math.min(total, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
    const kept = new Map([...inner.children].map((node) => [node.dataset.key, node]));
    const nodes = [];
    for (let at = first; at < last; at++) {
      const study = row(at);
      const key = `${asked}:${at}:${study?.id ?? ""}:${study?.predicted ?? ""}`;
      const node = kept.get(key) || option(at, study, key);
      node.setAttribute("aria-selected", study?.id === root.state.get().study ? "true" : "false");
      node.classList.toggle("marked", at === marked);
      nodes.push(node);
    }
    if (nodes.length !== inner.children.length || nodes.some((node, n) => inner.children[n] !== node)) inner.replaceChildren(...nodes);
    list.setAttribute("aria-activedescendant", marked >= first && marked < last ? `study-${marked}` : "");
    clearTimeout(resting);
    resting = setTimeout(thumbnails, REST);
  }

  function thumbnails() {
    for (const picture of inner.querySelectorAll("img[data-src]")) {
      picture.src = picture.dataset.src;
      delete picture.dataset.src;
    }
  }

  function option(at, study, key) {
    const node = el("div", { class: "study", role: "option", id: `study-${at}`, "aria-posinset": at + 1, "aria-setsize": total, "data-key": key, test: "study" });
    node.style.top = `${at * ROW}px`;
    if (!study) {
      node.classList.add("waiting");
      node.setAttribute("aria-label", "being read");
      return node;
    }
    node.dataset.study = study.id;
    const answer = study.predicted ? `${study.predicted} ${percent(study.probability)}` : study.modality || study.kind;
    const wrong = study.label && study.predicted && study.label !== study.predicted ? el("span", { class: "badge warn", text: `labelled ${study.label}` }) : null;
    const state = study.status && study.status !== "ok" ? el("span", { class: "badge", text: study.status }) : null;
    const thumbnail = study.thumbnail ? el("img", { class: "thumbnail", alt: "", "data-src": root.api.url(study.thumbnail), decoding: "async", draggable: "false" }) : null;
    node.append(
      el("span", { class: "frame" }, thumbnail),
      el("span", { class: "words" }, el("span", { class: "name", text: study.name, title: study.name }), el("span", { class: "answer" }, answer, wrong, state)),
    );
    node.addEventListener("click", () => choose(at));
    return node;
  }

  function mark(at, scroll = true) {
    marked = Math.min(total - 1, Math.max(0, at));
    if (scroll) {
      const top = marked * ROW;
      if (top < list.scrollTop) list.scrollTop = top;
      else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    }
    draw();
  }

  async function choose(at) {
    mark(at);
    const found = await page(Math.floor(at / PAGE));
    const study = found[at % PAGE];
    if (study) await root.go(study.id);
    draw();
  }

  /** Where the open study stands, among those that were asked for already; -1 if it does not. */
  function current() {
    const id = root.state.get().study;
    for (const [number, found] of pages) {
      const at = Array.isArray(found) ? found.findIndex((study) => study.id === id) : -1;
      if (at >= 0) return number * PAGE + at;
    }
    return -1;
  }

  /** What the network said of the open study stands in its row, also if it was asked just now. */
  function learn(at) {
    const [best] = Object.entries(root.study?.probabilities || {}).sort((a, b) => b[1] - a[1]);
    const study = row(at);
    if (best && study && study.id === root.study.id && !study.predicted) [study.predicted, study.probability] = best;
  }

  function markCurrent() {
    const at = current();
    if (at >= 0) learn(at);
    document.getElementById("position").textContent = at < 0 || total < 2 ? "" : `${at + 1} of ${total}`;
    if (at >= 0) mark(at);
    else draw();
  }

  /** Opens the next study of the list (-1: the one before). */
  async function step(by) {
    await page(0);
    const at = current();
    const to = at < 0 ? 0 : at + by;
    if (to >= 0 && to < total) await choose(to);
  }

  function keyboard(event) {
    const rows = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const to = { ArrowDown: marked + 1, ArrowUp: marked - 1, PageDown: marked + rows, PageUp: marked - rows, Home: 0, End: total - 1 }[event.key];
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (to !== undefined) mark(to);
    else if (event.key === "Enter" || event.key === " ") choose(marked);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  function mount(element) {
    count = el("p", { class: "hint", role: "status", test: "studies-count" });
    inner = el("div", { class: "studies-inner", role: "presentation" });
    list = el("div", { class: "studies-list", role: "listbox", tabindex: "0", "aria-label": "Studies", test: "studies-list", on: { keydown: keyboard } }, inner);
    let typed;
    const search = el("input", { type: "search", test: "studies-filter", autocomplete: "off", spellcheck: "false", placeholder: "name, class or status" });
    search.addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(() => {
        text = search.value.trim();
        restart();
      }, 150);
    });
    const sorting = select("studies-sort", SORTS, sort, (value) => {
      sort = value;
      restart();
    });
    fill(element, el("div", { class: "studies-head" }, field("Find", search), field("Sort by", sorting), count), list);
    let waiting = false;
    list.addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        draw();
      });
    });
    new ResizeObserver(draw).observe(list);
    root.on("study", markCurrent);
    root.on("maps", markCurrent);
    restart().then(() => root.api.offline && total < 2 && root.state.set({ list: false }));
  }

  root.studies = { mount, step, update: () => list && markCurrent(), restart: () => list && restart() };
})();
