// The search runs in a worker, and browsers grant none to a page that was opened from a folder: a frame stands in for it.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #inside
    #waiting = []

    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      this.#inside = frame.contentWindow
      this.#inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", {data}))
      const script = this.#inside.document.createElement("script")
      script.src = new URL(url, location)
      script.onload = () => {
        const waiting = this.#waiting
        this.#waiting = null
        waiting.forEach(data => this.postMessage(data))
      }
      this.#inside.document.body.append(script)
    }

    postMessage(data) {
      if (this.#waiting) this.#waiting.push(data)
      else this.#inside.dispatchEvent(new MessageEvent("message", {data}))
    }
  }
}
