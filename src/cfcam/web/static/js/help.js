"use strict";
/** The help overlay: every key there is, by group. */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const { el } = cfcam.dom;
  const ORDER = ["Picture", "Map", "Panes", "Study", "Review", "Panels", "More"];

  function fill(place) {
    const groups = [...cfcam.keys.list()].sort(([a], [b]) => (ORDER.indexOf(a) + 99) % 99 - (ORDER.indexOf(b) + 99) % 99);
    place.replaceChildren(...groups.map(([name, entries]) => el("section", {}, el("h3", {}, name),
      el("dl", {}, ...entries.map(({ label, keys }) => el("div", {}, el("dt", {}, ...keys.map((key) => el("kbd", {}, key))), el("dd", {}, label)))))),
    el("section", {}, el("h3", {}, "Mouse"), el("dl", {}, ...[
      ["Click", "Cursor there"], ["Drag", "Move a zoomed picture, or the cursor"], ["Shift drag", "Move the plane"],
      ["Right drag", "Window: sideways width, up and down centre"], ["Wheel", "Zoom; in volumes slices"], ["Ctrl wheel", "Zoom in volumes"],
      ["Double click", "Whole picture"],
    ].map(([key, label]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, label))))));
  }

  function toggle() {
    const dialog = document.getElementById("help");
    if (dialog.open) return dialog.close();
    fill(document.getElementById("help-content"));
    dialog.showModal();
  }

  function start() {
    document.getElementById("help-open").addEventListener("click", toggle);
    document.getElementById("help-close").addEventListener("click", toggle);
    document.getElementById("help").addEventListener("click", (event) => { if (event.target.id === "help") toggle(); });
    cfcam.keys.add({ key: "?", label: "This help", group: "More", run: toggle, inDialog: true });
  }

  cfcam.help = { start, toggle };
})();
