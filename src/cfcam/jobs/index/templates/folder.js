"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const at = Object.fromEntries(data.columns.map((name, n) => [name, n]));
  const rows = data.rows;
  const of = (n, column) => rows[n][at[column]];
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const shownClass = (index) => (index === null ? "" : data.classes[index]);
  const status = (n) => data.statuses[of(n, "status")];
  const failed = (n) => status(n) === "failed";
  const probability = (n, column) => data.texts[of(n, `${column}_text`)];  // numbers are put into words in one place, in Python
  const wrong = (n) => {
    const [label, answer] = [of(n, "label"), of(n, "answer")];
    return label === null || answer === null ? null : label !== answer;
  };

  // --- where pictures are -------------------------------------------------------------------------------------------
  const embedded = (id) => $(id)?.textContent ?? "";
  const thumb = (n) => (data.embedded ? embedded(`t${n}`) : of(n, "thumb"));
  const original = (n) => {
    if (data.embedded) return embedded(`o${n}`);
    const [folder, file] = [data.folders[of(n, "folder")], of(n, "original")];
    return file && (folder ? `${folder}/${file}` : file);
  };
  const views = (n) => {
    const [stem, pattern] = of(n, "views");
    return data.views[pattern].map(([method, index, ending], k) => ({
      method: data.methods[method], index, file: stem + data.endings[ending], embedded: `v${n}-${k}`,
    }));
  };

  // --- which are shown, in which order ------------------------------------------------------------------------------
  const number = (value, fallback) => (value === null ? fallback : value);
  const sure = (n) => number(of(n, "confidence") ?? of(n, "probability"), -1);
  const by = (value) => (a, b) => value(a) - value(b) || a - b;
  const words = new Intl.Collator("en", { numeric: true });
  const far = (n) => {
    const peak = of(n, "peak");
    return peak === null ? -1 : Math.hypot(peak[0] - 0.5, peak[1] - 0.5);
  };
  const rank = { true: 0, null: 1, false: 2 };
  const orders = {
    ...(data.labelled && { wrong: ["wrong first, surest first", (a, b) =>
      rank[wrong(a)] - rank[wrong(b)] || (wrong(a) === false ? sure(a) - sure(b) : sure(b) - sure(a)) || a - b] }),
    given: ["as given", (a, b) => a - b],
    name: ["name", (a, b) => words.compare(of(a, "name"), of(b, "name")) || a - b],
    class: ["answer, then surest first", (a, b) =>
      words.compare(shownClass(of(a, "answer") ?? of(a, "explained")), shownClass(of(b, "answer") ?? of(b, "explained")))
      || sure(b) - sure(a) || a - b],
    sure: ["probability, high first", by((n) => -sure(n))],
    unsure: ["probability, low first", by((n) => (sure(n) < 0 ? 2 : sure(n)))],
    status: ["map: without one first", (a, b) =>
      (status(a) === "ok") - (status(b) === "ok") || words.compare(status(a), status(b)) || a - b],
    peak: ["peak, far from the middle first", by((n) => -far(n))],
    top: ["peak, from top to bottom", by((n) => number(of(n, "peak")?.[1] ?? null, 2))],
    left: ["peak, from left to right", by((n) => number(of(n, "peak")?.[0] ?? null, 2))],
    untypical: ["map, least typical of its class first", by((n) => number(of(n, "typical"), 2))],
    typical: ["map, most typical of its class first", by((n) => -number(of(n, "typical"), -2))],
  };
  const wanted = { find: "", answer: "", label: "", right: "", status: "", picked: null };
  let order = data.labelled ? "wrong" : "given";
  let found = [];
  let lowered = null;

  const passes = (n) => {
    if (wanted.picked && !wanted.picked.has(n)) return false;
    if (wanted.answer && shownClass(of(n, "answer") ?? of(n, "explained")) !== wanted.answer) return false;
    if (wanted.label && shownClass(of(n, "label")) !== wanted.label) return false;
    if (wanted.right && { wrong: wrong(n) !== true, right: wrong(n) !== false, unknown: wrong(n) !== null }[wanted.right]) return false;
    if (wanted.status && status(n) !== wanted.status) return false;
    return !wanted.find || lowered[n].includes(wanted.find);
  };
  const choose = () => {
    if (wanted.find && !lowered) lowered = rows.map((row) => row[at.name].toLowerCase());
    found = rows.map((_, n) => n).filter(passes).sort(orders[order][1]);
    active = 0;
    const all = found.length === rows.length;
    const kind = rows.length === 1 ? "picture" : "pictures";
    $("count").textContent = (all ? `${rows.length} ${kind}` : `${found.length} of ${rows.length} ${kind}`)
      + (wanted.words ? `: ${wanted.words}` : "");
    $("none").hidden = found.length > 0;
    $("reset").disabled = all && !wanted.find && !wanted.picked;
    for (const cell of document.querySelectorAll(".cell")) {
      cell.setAttribute("aria-pressed", String(cell.dataset.label === wanted.label && cell.dataset.answer === wanted.answer));
    }
    measure();
  };

  const options = (id, entries) => {
    $(id)?.replaceChildren(...entries.map(([value, text]) => make("option", { value, textContent: text })));
  };
  const counted = (value) => {
    const counts = new Map();
    rows.forEach((_, n) => { const key = value(n); if (key !== "") counts.set(key, (counts.get(key) ?? 0) + 1); });
    return [...counts].sort((a, b) => words.compare(a[0], b[0])).map(([name, count]) => [name, `${name} (${count})`]);
  };
  const tell = { wrong: "wrong", right: "right", unknown: "not known" };
  const whether = (n) => (wrong(n) === null ? "unknown" : wrong(n) ? "wrong" : "right");
  options("sort", Object.entries(orders).map(([key, [text]]) => [key, text]));
  options("answer", [["", "all"], ...counted((n) => shownClass(of(n, "answer") ?? of(n, "explained")))]);
  options("label", [["", "all"], ...counted((n) => shownClass(of(n, "label")))]);
  options("right", [["", "all"], ...counted(whether).map(([key, text]) => [key, text.replace(key, tell[key])])]);
  options("status", [["", "all"], ...counted(status)]);
  $("sort").value = order;

  for (const id of ["answer", "label", "right", "status"]) {
    $(id)?.addEventListener("change", (event) => { wanted[id] = event.target.value; choose(); toTop(); });
  }
  $("sort").addEventListener("change", (event) => { order = event.target.value; choose(); toTop(); });
  $("find").addEventListener("input", (event) => { wanted.find = event.target.value.trim().toLowerCase(); choose(); toTop(); });
  const reset = () => {
    Object.assign(wanted, { find: "", answer: "", label: "", right: "", status: "", picked: null, words: "" });
    for (const id of ["find", "answer", "label", "right", "status"]) if ($(id)) $(id).value = "";
    choose();
    toTop();
  };
  const resetHere = () => { reset(); $("find").focus(); };
  $("reset").addEventListener("click", resetHere);
  $("reset-too").addEventListener("click", resetHere);
  for (const cell of document.querySelectorAll(".cell")) {
    cell.addEventListener("click", () => {
      const off = cell.getAttribute("aria-pressed") === "true";
      reset();
      if (off) return;
      for (const id of ["label", "answer"]) $(id).value = wanted[id] = cell.dataset[id];
      choose();
      toTop();
    });
  }

  // --- the list: only what is seen is in the document ---------------------------------------------------------------
  const list = $("list");
  const cards = new Map();
  const GAP = 10;
  let active = 0;
  let columns = 1, width = 0, height = 0;

  const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
  const measure = () => {
    const room = list.clientWidth;
    if (!room) return;
    columns = Math.max(1, Math.floor((room + GAP) / (11.5 * rem() + GAP)));
    width = Math.floor((room - GAP * (columns - 1)) / columns);
    height = Math.round(width * 0.82 + (data.labelled ? 4.7 : 3.5) * rem());
    list.style.height = `${Math.ceil(found.length / columns) * (height + GAP)}px`;
    for (const card of cards.values()) card.remove();
    cards.clear();
    draw();
  };
  const card = (place) => {
    const n = found[place];
    const answer = of(n, "answer") ?? of(n, "explained");
    const shot = make("span", { className: "shot" });
    const source = thumb(n);
    if (source) shot.append(make("img", { src: source, alt: "", decoding: "async" }));
    if (status(n) !== "ok") shot.append(make("span", { className: "badge", textContent: status(n) }));
    const told = make("span", { className: "told" });
    const said = make("span", { className: "said" });
    if (failed(n)) said.append(of(n, "error"));
    else {  // of a long class the name is cut, and never the number
      said.classList.add("answer");
      said.append(make("b", { textContent: shownClass(answer) }), " ", make("span", { textContent: probability(n, "confidence") || probability(n, "probability") }));
    }
    said.title = said.textContent;  // which is cut to a line
    told.append(make("span", { className: "name", textContent: of(n, "name") }), said);
    if (data.labelled) {
      const label = of(n, "label");
      const mark = wrong(n) === null ? (label === null ? "no label" : `is ${shownClass(label)}`)
        : wrong(n) ? `✗ is ${shownClass(label)}` : "✓ right";
      told.append(make("span", { className: `true ${{ true: "no", false: "yes" }[wrong(n)] ?? ""}`, textContent: mark }));
    }
    const button = make("button", { type: "button", className: wrong(n) ? "card wrong" : "card", tabIndex: place === active ? 0 : -1, title: of(n, "name") }, shot, told);
    button.addEventListener("click", () => { focusOn(place); openViewer(place); });
    const item = make("li", {}, button);
    item.setAttribute("aria-setsize", found.length);
    item.setAttribute("aria-posinset", place + 1);
    item.dataset.place = place;
    Object.assign(item.style, {
      width: `${width}px`, height: `${height}px`,
      transform: `translate(${(place % columns) * (width + GAP)}px, ${Math.floor(place / columns) * (height + GAP)}px)`,
    });
    return item;
  };
  const draw = () => {
    const top = -list.getBoundingClientRect().top;
    const line = height + GAP;
    const first = Math.max(0, Math.floor(top / line) - 1) * columns;
    const last = Math.min(found.length, Math.ceil((top + innerHeight) / line + 1) * columns);
    for (const [place, item] of cards) {
      if ((place < first || place >= last) && place !== active) { item.remove(); cards.delete(place); }
    }
    const due = [];
    for (let place = first; place < last; place += 1) due.push(place);
    if (active < found.length) due.push(active);  // so that the focus is never lost
    for (const place of due) if (!cards.has(place)) cards.set(place, insert(card(place), place));
  };
  const insert = (item, place) => {  // in the order of the list, for those who hear it
    const next = [...list.children].find((other) => Number(other.dataset.place) > place);
    list.insertBefore(item, next ?? null);
    return item;
  };
  let asked = 0;
  const later = () => { asked = asked || requestAnimationFrame(() => { asked = 0; draw(); }); };
  addEventListener("scroll", later, { passive: true });
  addEventListener("resize", () => measure());
  const toTop = () => { if (list.getBoundingClientRect().top < 0) list.parentElement.scrollIntoView(); };

  const focusOn = (place, { focus = true } = {}) => {
    if (!found.length) return;
    const before = cards.get(active)?.firstChild;
    active = Math.min(found.length - 1, Math.max(0, place));
    if (before) before.tabIndex = -1;
    const line = Math.floor(active / columns) * (height + GAP);
    const top = list.getBoundingClientRect().top + line;
    if (top < 0) scrollBy(0, top - GAP);
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight + GAP);
    draw();
    const button = cards.get(active).firstChild;
    button.tabIndex = 0;
    if (focus) button.focus({ preventScroll: true });
  };
  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const page = columns * Math.max(1, Math.floor(innerHeight / (height + GAP)));
    const to = { ArrowRight: active + 1, ArrowLeft: active - 1, ArrowDown: active + columns, ArrowUp: active - columns,
      Home: 0, End: found.length - 1, PageDown: active + page, PageUp: active - page }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    focusOn(to);
  });
  list.addEventListener("focus", () => focusOn(active));  // where the link to the pictures leads

  // --- one picture, large -------------------------------------------------------------------------------------------
  const viewer = $("viewer");
  let open = 0, method = null, mapped = null, held = false;
  const pick = (all) => all.find((v) => v.method === method && v.index === mapped)
    ?? all.find((v) => v.method === method) ?? all.find((v) => v.index === mapped) ?? all[0];
  const unique = (values) => [...new Set(values)];
  const put = (image, missing, source, alt, words) => {
    image.hidden = !source;
    missing.hidden = Boolean(source);
    missing.textContent = words;
    if (!source) { image.removeAttribute("src"); return; }
    if (image.getAttribute("src") !== source) image.src = source;
    image.alt = alt;
  };
  for (const [image, missing, words] of [["over", "over-missing", "This file is not where it was."], ["bare", "bare-missing", "The original is not where it was when this page was written."]]) {
    $(image).addEventListener("error", () => { $(image).hidden = true; $(image).removeAttribute("src"); $(missing).hidden = false; $(missing).textContent = words; });
  }
  const refresh = () => {
    const n = found[open], all = views(n);
    const name = of(n, "name"), bare = original(n), chosen = pick(all);
    const large = chosen ? (data.embedded ? embedded(chosen.embedded) : /\.pdf$/i.test(chosen.file) ? "" : chosen.file) : "";
    $("viewer-name").textContent = name;
    $("viewer-place").textContent = `${open + 1} of ${found.length}`;
    for (const [id, off] of [["previous", open === 0], ["next", open === found.length - 1]]) {
      if (off && document.activeElement === $(id)) $("close").focus();
      $(id).disabled = off;
    }
    const words = chosen ? `${chosen.method}, map for ${shownClass(chosen.index)}` : "";
    const source = held && bare ? bare : large || thumb(n);
    put($("over"), $("over-missing"), source, held && bare ? `${name}, original` : words ? `${name}, ${words}` : name, failed(n) ? of(n, "error") : "There is no picture of it.");
    $("over-words").textContent = held && bare ? "Original" : large ? words : failed(n) ? "failed"
      : chosen ? `${words}, small: open its file for the large one` : "small, for no overlay was saved (--save overlay)";
    put($("bare"), $("bare-missing"), bare, `${name}, original`, "There is no original here that a browser can show.");
    $("hold").setAttribute("aria-pressed", String(held));
    if (!bare && document.activeElement === $("hold")) $("close").focus();
    $("hold").disabled = !bare;
    const methods = unique(all.map((v) => v.method)), classes = unique(all.map((v) => v.index));
    buttons("methods", methods, chosen?.method, (value) => { method = value; }, (value) => value, "M");
    buttons("classes", classes, chosen?.index, (value) => { mapped = value; }, shownClass, "C");
    const links = [...(chosen ? [[chosen.file, "map as file"]] : []),
      ...data.further[of(n, "further")].map(([ending, text]) => [of(n, "views")[0] + data.endings[ending], text])];
    $("files").replaceChildren(...(data.embedded ? [] : links.map(([href, text]) => make("a", { href, textContent: text, target: "_blank", rel: "noopener" }))));
    $("legend").hidden = !chosen || !large;
    facts(n, all, chosen);
    for (const beside of [open - 1, open + 1]) if (beside in found) ahead(found[beside]);
  };
  const ahead = (n) => {  // so that the next picture is there when it is asked for
    if (data.embedded) return;
    const chosen = pick(views(n));
    for (const source of [chosen && !/\.pdf$/i.test(chosen.file) ? chosen.file : "", original(n)]) if (source) new Image().src = source;
  };
  const buttons = (id, values, current, set, text, key) => {
    const several = values.length > 1;
    const where = $(id);
    if (where.dataset.all !== JSON.stringify(values)) {
      where.dataset.all = JSON.stringify(values);
      where.replaceChildren(...(several ? values.map((value) => {
        const button = make("button", { type: "button", textContent: text(value) });
        button.addEventListener("click", () => { set(value); refresh(); });
        return button;
      }) : []));
      if (several) where.append(make("kbd", { textContent: key }));
    }
    if (several) values.forEach((value, k) => where.children[k].setAttribute("aria-pressed", String(value === current)));
  };
  const facts = (n, all, chosen) => {
    const [answer, explained, label, peak, typical] = ["answer", "explained", "label", "peak", "typical"].map((c) => of(n, c));
    const lines = [];
    // what is known of a map is of the first one, whichever is looked at
    const first = all.find((v) => v.index === explained) ?? chosen;
    const others = chosen ? [chosen.method !== first.method && first.method, chosen.index !== first.index && shownClass(first.index)].filter(Boolean) : [];
    const whose = others.length ? ` (${others.join(", ")})` : "";
    if (answer !== null) lines.push([probability(n, "confidence") ? "answer, probability" : "answer", `${shownClass(answer)} ${probability(n, "confidence")}`]);
    if (explained !== null && explained !== answer) lines.push(["explained", `${shownClass(explained)} ${probability(n, "probability")}`]);
    if (of(n, "margin") !== null) lines.push(["margin of the logits", of(n, "margin")]);
    if (label !== null) lines.push(["true class", shownClass(label) + { true: " ✗", false: " ✓", null: "" }[wrong(n)], { true: "no", false: "yes" }[wrong(n)]]);
    if (!failed(n)) lines.push([`map${whose}`, status(n)]);
    if (of(n, "where")) lines.push([`points to${whose}`, of(n, "where")]);
    if (peak !== null) lines.push([`peak${whose}`, `${Math.round(peak[0] * 100)} % from the left, ${Math.round(peak[1] * 100)} % from the top`]);
    if (typical !== null) lines.push([`like its class${whose}`, `r = ${typical.toFixed(2)}`]);
    $("facts").replaceChildren(...lines.map(([name, text, kind]) => make("div", {},
      make("dt", { textContent: name }), make("dd", { textContent: text, className: kind ?? "" }))));
  };
  const settle = () => {  // a button that is disabled loses the focus, and with it the keys
    if (viewer.open && !viewer.contains(document.activeElement)) $($("hold").disabled ? "close" : "hold").focus();
  };
  const openViewer = (place) => {
    open = place;
    held = false;
    refresh();
    if (!viewer.open) viewer.showModal();
    $($("hold").disabled ? "close" : "hold").focus();
  };
  const go = (step) => {
    const to = open + step;
    if (to in found) { open = to; held = false; refresh(); settle(); }
  };
  const hold = (on) => { if (held !== on && !$("hold").disabled) { held = on; refresh(); } };
  viewer.addEventListener("close", () => { held = false; focusOn(open); });
  $("close").addEventListener("click", () => viewer.close());
  $("previous").addEventListener("click", () => go(-1));
  $("next").addEventListener("click", () => go(1));
  for (const [name, on] of [["pointerdown", true], ["pointerup", false], ["pointerleave", false], ["pointercancel", false]]) {
    $("hold").addEventListener(name, () => hold(on));
  }
  $("hold").addEventListener("keydown", (event) => { if (event.key === " " || event.key === "Enter") { event.preventDefault(); hold(true); } });
  $("hold").addEventListener("keyup", () => hold(false));
  $("hold").addEventListener("blur", () => hold(false));
  const turn = (values, current, step) => values[(values.indexOf(current) + step + values.length) % values.length];
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const all = views(found[open]), chosen = pick(all), step = event.shiftKey ? -1 : 1;
    const act = {
      n: () => go(1), arrowright: () => go(1), p: () => go(-1), arrowleft: () => go(-1), o: () => hold(true),
      m: () => { if (chosen) { method = turn(unique(all.map((v) => v.method)), chosen.method, step); refresh(); } },
      c: () => { if (chosen) { mapped = turn(unique(all.map((v) => v.index)), chosen.index, step); refresh(); } },
    }[event.key.toLowerCase()];
    if (act) { event.preventDefault(); act(); }
  });
  viewer.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "o") hold(false); });
  addEventListener("blur", () => hold(false));

  // --- mean maps, help ----------------------------------------------------------------------------------------------
  const show = (which) => {
    for (const id of ["pictures", "means"]) {
      if (!$(id)) continue;
      $(id).hidden = id !== which;
      $(`show-${id}`).setAttribute("aria-pressed", String(id === which));
    }
    if (which === "pictures") measure();
    else fill();
  };
  const fill = () => {
    for (const button of document.querySelectorAll(".member:empty")) {
      const n = Number(button.dataset.row), typical = of(n, "typical");
      button.append(make("img", { src: thumb(n), alt: `${of(n, "name")}, r = ${typical.toFixed(2)}`, loading: "lazy" }));
      button.title = `${of(n, "name")}, r = ${typical.toFixed(2)}`;
      button.addEventListener("click", () => {
        const group = button.closest(".group").querySelector(".pick");
        pickGroup(group);
        const place = found.indexOf(n);
        focusOn(place);
        openViewer(place);
      });
    }
  };
  const pickGroup = (button) => {
    reset();
    wanted.picked = new Set(button.dataset.rows.split(" ").map(Number));
    wanted.words = button.dataset.words;
    show("pictures");
    choose();
  };
  for (const button of document.querySelectorAll(".pick")) button.addEventListener("click", () => { pickGroup(button); focusOn(0); });
  $("show-pictures").addEventListener("click", () => show("pictures"));
  $("show-means")?.addEventListener("click", () => show("means"));
  $("show-help").addEventListener("click", () => $("help").showModal());
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "?" && !$("help").open) { event.preventDefault(); $("help").showModal(); }
    if (event.key === "/" && !viewer.open && !$("help").open) { event.preventDefault(); show("pictures"); $("tools").open = true; $("find").focus(); }
  });

  if (matchMedia("(max-width: 52rem)").matches) for (const id of ["tools", "measured"]) if ($(id)) $(id).open = false;
  choose();
  if (data.embedded) addEventListener("DOMContentLoaded", () => measure());  // now the pictures behind this script are read
})();
