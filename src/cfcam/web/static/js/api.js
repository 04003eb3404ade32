"use strict";
/**
 * What is asked of the server: `cfcam.api.get`, `post` and `bytes`.
 *
 * Paths start at `/api` or below it ("/studies" and "/api/studies" are the same). Every failure rejects with
 * `{status, message}`, one line for people; status 0: nobody answered. The offline file puts a stub with the same
 * functions in the place of this one.
 */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  let gone = false;

  /** Tells the page once that the server went away, and once that it is back. */
  function answered(yes) {
    if (gone === !yes) return;
    gone = !yes;
    window.dispatchEvent(new CustomEvent("cfcam:server", { detail: { gone } }));
  }

  function address(path) {
    return path.startsWith("/api/") ? path : `/api${path.startsWith("/") ? "" : "/"}${path}`;
  }

  /** The server's own line, or one that says what the number means. */
  async function failure(response) {
    let message = "";
    try {
      message = (await response.json()).error || "";
    } catch {
      // not JSON: the status has to do
    }
    const known = {
      401: "the token is missing or has expired: open the address that cfcam view printed",
      404: "not found: it may have been closed; reload the page",
      413: "too large for this viewer",
      429: "the viewer is busy: try again in a moment",
      503: "the viewer is busy: try again in a moment",
    };
    return { status: response.status, message: message || known[response.status] || `the server answered ${response.status}` };
  }

  async function request(path, options) {
    let response;
    try {
      response = await fetch(address(path), { credentials: "same-origin", ...options });
    } catch (error) {
      if (error && error.name === "AbortError") throw { status: -1, message: "given up" };
      answered(false);
      throw { status: 0, message: "the viewer's server does not answer: is cfcam view still running?" };
    }
    answered(true);
    if (!response.ok) throw await failure(response);
    return response;
  }

  /** @returns {Promise<any>} the parsed JSON. */
  async function get(path, options) {
    return (await request(path, options)).json();
  }

  /**
   * @param {string} path where to
   * @param {object|FormData} body sent as JSON, or as a form
   * @param {{signal?: AbortSignal}} [options] a signal that ends the waiting
   * @returns {Promise<any>} the parsed JSON, or a Blob when the answer is a file.
   */
  async function post(path, body, options) {
    const form = body instanceof FormData;
    const response = await request(path, {
      method: "POST",
      body: form ? body : JSON.stringify(body),
      headers: form ? {} : { "Content-Type": "application/json" },
      ...options,
    });
    const type = response.headers.get("Content-Type") || "";
    const file = (response.headers.get("Content-Disposition") || "").startsWith("attachment");
    return type.includes("json") && !file ? response.json() : response.blob();
  }

  /** @returns {Promise<ArrayBuffer>} */
  async function bytes(path, options) {
    const response = await request(path, options);
    try {
      return await response.arrayBuffer();
    } catch (error) {
      throw error.name === "AbortError" ? { status: -1, message: "given up" } : error; // in the middle of the file
    }
  }

  /** @returns {Promise<{blob: Blob, name: string, type: string}>} the answer of a POST that is a file */
  async function file(path, body, options) {
    const response = await request(path, {
      method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, ...options,
    });
    const name = /filename="?([^";]+)"?/.exec(response.headers.get("Content-Disposition") || "");
    return { blob: await response.blob(), name: name ? name[1] : "cfcam", type: response.headers.get("Content-Type") || "" };
  }

  /** @returns {string} what an <img> shows; the offline file has its own */
  const url = (path) => address(path);

  cfcam.api = { get, post, bytes, file, url, offline: false };
})();
