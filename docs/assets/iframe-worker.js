// The site's search runs in a worker, which browsers start for no page opened from a folder. There, a hidden frame does its work.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      this.inside = this.frame.contentWindow
      this.started = new Promise(resolve => { this.inside.started = resolve })
      this.inside.answer = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const page = this.inside.document
      // document.open() keeps the window, and so what was put on it.
      page.open()
      page.write(`<!DOCTYPE html><body><script>
        window.postMessage = data => answer(data)
        window.importScripts = (...addresses) => addresses.reduce((before, address) => before.then(() => new Promise(resolve => {
          const script = document.createElement("script")
          script.src = address
          script.onload = resolve
          document.body.append(script)
        })), Promise.resolve())
      <\/script><script src="${address}"><\/script><script>started()<\/script>`)
      page.close()
    }
    postMessage(data) {
      this.started.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })))
    }
    terminate() {
      this.frame.remove()
    }
  }
}
