"use strict";
/** What is shown and how: network, preparation, blend, versions, limits. */
(() => {
  const root = window.cfcam;
  const { el, fill, number, answer, seconds } = root.kit;

  const BLENDS = {
    value: "picture × (1 − a) + colour × a, where a = opacity × map: a map of 0 changes nothing, and the peak has the full opacity.",
    uniform: "picture × (1 − opacity) + colour × opacity everywhere, also where the map is 0.",
    contour: "only the outline at the threshold; the picture is unchanged.",
  };

  let box;

  const active = () => root.maps.of(root.state.get().maps[root.state.get().active]);

  function list(rows) {
    const known = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
    return el("dl", {}, known.map(([name, value, title]) => [el("dt", { text: name }), el("dd", { text: String(value), title: title === undefined ? null : String(title) })]));
  }

  const percent = (value) => `${Math.round(100 * value)} %`;

  function pictureRows() {
    const { study } = root;
    if (!study) return [];
    const shown = root.viewer.original();
    const { low, high, source } = shown?.window || {};
    return [
      ["Size", study.shape?.join(" × ")],
      ["Spacing", study.spacing ? `${study.spacing.map((one) => number(one)).join(" × ")} mm${study.measured ? ` ${study.measured}` : ""}` : "not stated"],
      ["Sides", study.edges ? `right edge ${study.edges[0]}, lower edge ${study.edges[1]}` : study.affine && study.placed !== false ? "from the file" : "not stated: left and right are as stored"],
      ["Channel", shown?.name ? `${shown.name}, of ${study.channels.length}` : null],
      ["Window", low === undefined ? null : `${number(low)} to ${number(high)}${study.values?.unit ? ` ${study.values.unit}` : ""}${source ? ` (${source})` : ""}`],
      ["Modality", study.modality],
    ];
  }

  function mapRows() {
    const map = active();
    if (!map) return [];
    const state = root.state.get();
    const at = state.threshold ?? map.threshold;
    return [
      ["Class", `${map.class_name} ${answer(map)}`],
      ["Method", map.method],
      ["Layer", map.layer],
      ["State", map.status],
      ["Outline at", at === null || at === undefined ? null : `${number(at)} of the map's maximum${state.threshold === null && map.rule ? ` (${map.rule})` : ""}`],
      ["Raw maximum", map.scale_max === null || map.scale_max === undefined ? null : number(map.scale_max), map.scale_max],
      ["Made", map.source === "live" ? `now${map.seconds ? `, in ${seconds(map.seconds)}` : ""}` : "before, read from a file"],
    ];
  }

  function draw() {
    if (!box) return;
    const { info } = root;
    const state = root.state.get();
    const prepared = info?.model?.preprocess ?? root.study?.preprocess;
    fill(
      box,
      el("p", { class: "research", text: info?.disclaimer }),
      el("h3", { text: "This map" }),
      list(mapRows()),
      el("h3", { text: "How it is drawn" }),
      el("p", { class: "formula", test: "formula", text: BLENDS[state.blend] || "" }),
      list([["Palette", state.palette], ["Opacity", percent(state.opacity)], ["Scale", state.scale === "common" ? "one for all maps shown: the greatest raw maximum is 1" : "each map's own maximum is 1"], ["Below 0", "negative evidence is not drawn"]]),
      el("h3", { text: "The picture" }),
      list(pictureRows()),
      (root.study?.notices || []).map((text) => el("p", { class: "notice", text })),
      el("h3", { text: "The network" }),
      list([
        ["Name", info?.model?.name ?? "none"],
        ["Layer", info?.model?.layer],
        ["Classes", info?.model?.classes?.length || null],
        ["Preparation", typeof prepared === "string" ? prepared : prepared ? Object.entries(prepared).map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(", ") : value}`).join("; ") : null],
        ["cfcam", info?.version],
      ]),
      el("h3", { text: "Limits" }),
      el("p", { class: "hint", text: "A map explains the network; it is not a finding. It is as fine as the layer's cells, not as the picture's pixels. Maps that look convincing can be made by networks that are wrong: see Uncertainty and control." }),
    );
  }

  root.kit.panel({
    id: "about",
    icon: "info",
    title: "About this map",
    key: "i",
    mount(element) {
      box = el("div", { class: "about", tabindex: "0", role: "group", "aria-label": "About this map" });
      element.append(box);
      draw();
    },
    update: draw,
  });
})();
