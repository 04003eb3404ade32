"use strict";
/** Small helpers to build elements; text is always set as text, never as markup. */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});

  /**
   * @param {string} tag name, with classes after dots: "div.row.tight"
   * @param {object} [given] properties; `on` holds listeners, `data` the data-attributes, `aria` the aria-attributes,
   *     `attr` other attributes
   * @param {...(Node|string|null)} children
   * @returns {HTMLElement}
   */
  function el(tag, given = {}, ...children) {
    const [name, ...classes] = tag.split(".");
    const element = document.createElement(name);
    element.classList.add(...classes);
    const { on = {}, data = {}, aria = {}, attr = {}, ...rest } = given;
    Object.assign(element, rest);
    for (const [event, run] of Object.entries(on)) element.addEventListener(event, run);
    for (const [key, value] of Object.entries(data)) element.dataset[key] = value;
    for (const [key, value] of Object.entries(aria)) element.setAttribute(`aria-${key}`, value);
    for (const [key, value] of Object.entries(attr)) element.setAttribute(key, value);
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  const SHAPES = {
    list: "M4 6h16M4 12h16M4 18h16",
    previous: "M15 5l-7 7 7 7",
    next: "M9 5l7 7-7 7",
    close: "M6 6l12 12M18 6L6 18",
    cube: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
    display: "M4 7h10M18 7h2M4 17h2M10 17h10M14 4v6M6 14v6",
    help: "M9.2 9a2.9 2.9 0 1 1 4.3 2.6c-.9.5-1.5 1.1-1.5 2.2M12 17.5v.1",
    eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z",
    map: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z",
    ruler: "M3 15l12-12 6 6-12 12zM7 11l2 2M10 8l2 2M13 5l2 2",
    compare: "M4 5h7v14H4zM14 5h6v14h-6z",
    review: "M5 12.5l4.5 4.5L19 7",
    share: "M12 15V4M8 8l4-4 4 4M5 14v5h14v-5",
    info: "M12 11v6M12 7.2v.1M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
    panes: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
    layers: "M12 4l9 5-9 5-9-5zM3 14l9 5 9-5",
    peak: "M12 3v5M12 16v5M3 12h5M16 12h5",
    link: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7l-1 1M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1-1",
  };

  /** @returns {SVGElement} a drawn sign of 20 px that a screen reader passes over */
  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", width: 20, height: 20, "aria-hidden": "true", class: "icon" })) {
      svg.setAttribute(key, value);
    }
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", SHAPES[name] || SHAPES.info);
    svg.append(path);
    return svg;
  }

  /** Percent as people read them: 0.9994 is "99.9 %"; never "0.0 %" nor "100.0 %", which 32 bits may say of what is not so sure. */
  function percent(p) {
    if (p === null || p === undefined || !Number.isFinite(p)) return "";
    if (p >= 0.9995) return "> 99.9 %";
    if (p < 0.0005) return "< 0.1 %";
    return `${(p * 100).toFixed(1)} %`;
  }

  cfcam.dom = { el, icon, percent };
})();
