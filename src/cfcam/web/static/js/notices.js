"use strict";
/** One-line toasts, the banner while the server is away, and what is being waited for. */
(() => {
  const cfcam = (window.cfcam = window.cfcam || {});
  const { el, icon } = cfcam.dom;

  /**
   * @param {string} message one line: what, where, what next
   * @param {"note"|"error"} [kind] errors stay until they are closed
   */
  function toast(message, kind = "note") {
    const place = document.getElementById("toasts");
    if ([...place.children].some((other) => other.dataset.message === message)) return;
    const card = el("div.toast", { data: { testid: "toast", kind, message } }, el("span", {}, message));
    const close = () => card.remove();
    card.append(el("button.tool.small", { type: "button", aria: { label: "Close this message" }, on: { click: close } }, icon("close")));
    place.append(card);
    while (place.children.length > 3) place.firstChild.remove();
    if (kind === "note") setTimeout(close, 5000);
  }

  /** For `catch`: says what went wrong; a request that was given up is nothing wrong. */
  function failed(error) {
    if (error && error.status === -1) return;
    if (error && error.status === 0) return; // the banner says it
    toast((error && error.message) || String(error), "error");
    if (error instanceof Error) console.error(error);
  }

  const waiting = new Set();

  /**
   * Says quietly that something is being waited for.
   * @param {string} text such as "grad-cam++"
   * @returns {(seconds?: number) => void} to be called when it has come; with the seconds it took, they stay for a while
   */
  function busy(text) {
    const entry = { text };
    waiting.add(entry);
    draw();
    return (seconds) => {
      waiting.delete(entry);
      draw(seconds === undefined ? "" : `${text} in ${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(0)} s`);
    };
  }

  let fading = 0;

  function draw(last = "") {
    const place = document.getElementById("busy");
    clearTimeout(fading);
    place.classList.toggle("spinning", waiting.size > 0);
    place.lastElementChild.textContent = waiting.size ? [...waiting].at(-1).text : last;
    place.hidden = !waiting.size && !last;
    if (!waiting.size && last) fading = setTimeout(() => { place.hidden = true; }, 4000);
  }

  function start() {
    const banner = document.getElementById("banner");
    window.addEventListener("cfcam:server", (event) => { banner.hidden = !event.detail.gone; });
    document.getElementById("banner-retry").addEventListener("click", async () => {
      try {
        await cfcam.api.get("/info");
        window.dispatchEvent(new CustomEvent("cfcam:retry"));
      } catch {
        // the banner stays
      }
    });
  }

  cfcam.notices = { toast, failed, busy, start };
})();
