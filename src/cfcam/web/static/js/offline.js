"use strict";
/**
 * In the place of the server, in the page that `cfcam explain --html` writes: everything that is asked for lies in the page.
 *
 * `#cfcam-held` is JSON: `{info, studies, details, tables}`. Each `[data-file]` is a file: gzip, base64. Nothing is
 * fetched, and what only Python can compute is refused in one line.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const held = JSON.parse(document.getElementById("cfcam-held").textContent);

  const plain = (path) => path.replace(/^\/?(api\/)?/, "/").replace(/[?#].*$/, "");
  const refuse = (message) => Promise.reject({ status: 404, message });
  const NOT_HERE = "this file holds what was made in advance: open the picture with cfcam view for more";

  function listed(path) {
    const asked = new URLSearchParams(path.split("?")[1] || "");
    const words = (asked.get("text") || "").toLowerCase();
    const found = held.studies.filter((study) => [study.name, study.predicted, study.status].join(" ").toLowerCase().includes(words));
    const offset = Number(asked.get("offset") || 0);
    return { total: found.length, studies: found.slice(offset, offset + Number(asked.get("limit") || 200)) };
  }

  function get(path) {
    const where = plain(path);
    const study = where.match(/^\/studies\/([^/]+)$/);
    if (where === "/info") return Promise.resolve(structuredClone(held.info));
    if (where === "/studies") return Promise.resolve(structuredClone(listed(path)));
    if (where === "/reviews") return Promise.resolve({ reviews: [] });
    if (study && held.details[study[1]]) return Promise.resolve(structuredClone(held.details[study[1]]));
    return refuse(NOT_HERE);
  }

  function post(path, body) {
    if (plain(path) !== "/roi") return refuse(NOT_HERE);
    const table = held.tables[body.map];
    const own = held.details[body.study]?.maps.find((map) => map.id === body.map)?.threshold;
    const asked = body.threshold === null || body.threshold === undefined || Math.abs(body.threshold - own) < 5e-4 || body.threshold === table?.rule;
    if (table && asked && !body.polygon) return Promise.resolve({ table: structuredClone(table), text: "" });
    return refuse("numbers are computed in Python: this file holds those of each map's own outline; for others open the picture with cfcam view");
  }

  function element(path) {
    const address = path.replace(/^\/?(api\/)?/, "/");
    return document.querySelector(`[data-file="${CSS.escape(address)}"]`);
  }

  async function bytes(path) {
    const found = element(path);
    if (!found) return refuse(NOT_HERE);
    const packed = Uint8Array.from(atob(found.textContent), (one) => one.charCodeAt(0));
    return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }

  const url = (path) => held.pictures[plain(path)] || path;

  cfcam.api = { get, post, bytes, url, offline: true };
})();
