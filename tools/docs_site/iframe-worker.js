// The site's search without a server. A page opened as a file may not start a Worker; there, a
// hidden frame runs the worker's script. In mkdocs.yml's polyfills: the plugin `offline` takes a
// script named iframe-worker for its own, which it would load from another host.
if (location.protocol === 'file:') {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement('iframe')
      frame.hidden = true
      document.body.append(frame)
      this.scope = frame.contentWindow
      this.scope.postMessage = data => this.dispatchEvent(new MessageEvent('message', { data }))
      const script = this.scope.document.createElement('script')
      this.loaded = new Promise(resolve => { script.onload = resolve })
      script.src = url
      this.scope.document.body.append(script)
    }

    async postMessage(data) {
      await this.loaded
      this.scope.dispatchEvent(new MessageEvent('message', { data }))
    }
  }
}
