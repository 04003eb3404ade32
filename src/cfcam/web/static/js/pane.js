"use strict";
/** One map over the original: its planes, its caption, and what is said on the picture. `cfcam.pane.make(number)`. */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const { el, percent } = cfcam.dom;

  const KINDS = { uncertainty: "spread", control: "control", difference: "difference", prior: "prior" };

  const NARROW = 480; // CSS pixels: caption and place do not stand side by side

  /** @returns {string[]} kind, method, class and probability of a map, as far as there are any */
  function partsOf(map) {
    const number = map.margin !== null && map.margin !== undefined
      ? `margin ${map.margin.toFixed(2)}` : percent(map.probability);
    const colours = map.kind === "difference" ? ["purple −", "orange +"] : []; // the colour bar may be that of another pane
    return [KINDS[map.kind], ...colours, map.method, map.class_name, number].filter(Boolean);
  }

  const captionOf = (map) => partsOf(map).join(" · ");

  /** Lines break between the parts; one that is wider than the picture is shortened, and stands whole in the title. */
  function write(caption, parts) {
    const text = parts.join(" · ");
    if (caption.title === text && caption.hidden === !text) return;
    caption.replaceChildren(...parts.flatMap((part, n) => (n ? [" · ", el("span", {}, part)] : [el("span", {}, part)])));
    caption.title = text;
    caption.hidden = !text;
  }

  /** @param {number} number from 0 */
  function make(number) {
    const caption = el("div.caption", { data: { testid: `caption-${number}` } });
    const badge = el("div.badge", { data: { testid: `status-${number}` }, hidden: true });
    const readout = el("div.readout", { data: { testid: `readout-${number}` } });
    const views = el("div.views");
    const element = el("section.pane", {
      tabIndex: 0, data: { testid: `pane-${number}`, pane: String(number) }, aria: { label: `Pane ${number + 1}` },
    }, views, caption, badge, readout);
    const self = { number, element, views: [], draw, readout };
    let layout = "";
    let measured = "";

    function lay(planes) {
      const wanted = planes.join(" ");
      if (wanted === layout) return;
      layout = wanted;
      self.views = planes.map((plane) => cfcam.view.make(plane));
      views.replaceChildren(...self.views.map((view) => view.element));
      views.dataset.count = String(planes.length);
    }

    /** In a narrow pane what says where the plane lies stands below the caption, however many lines that has. */
    function below() {
      const width = element.clientWidth;
      const key = `${width}|${caption.title}`;
      if (key === measured) return;
      measured = key;
      element.classList.toggle("narrow", width > 0 && width < NARROW);
      element.style.setProperty("--below", `${8 + (caption.hidden ? 0 : caption.offsetHeight)}px`);
    }

    /**
     * @param {object} frame as `cfcam.view`'s draw takes it, with planes
     * @param {object|null} map what the server says of the map shown
     * @param {string} note said on the picture, such as "no positive evidence"; empty: nothing
     * @param {string} name of a pane without a map
     */
    function draw(frame, map, note, name) {
      lay(frame.planes);
      for (const view of self.views) view.draw(frame);
      write(caption, map ? partsOf(map) : [name].filter(Boolean));
      below();
      badge.textContent = note;
      badge.hidden = !note;
      element.setAttribute("aria-label", `Pane ${number + 1}: ${caption.textContent || "the original"}${note ? `, ${note}` : ""}`);
    }

    return self;
  }

  cfcam.pane = { make, captionOf };
})();
