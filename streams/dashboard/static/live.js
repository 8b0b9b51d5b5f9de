// A subscription that heals: it comes back behind the last message it saw, and says so in words.
export class Live {
  #query; #onMessage; #onState; #position; #socket = null; #wait = 1000; #timer = 0; #watch = 0; #closed = false;
  constructor({ query = {}, position, onMessage, onState }) {
    this.#query = query; this.#position = position; this.#onMessage = onMessage; this.#onState = onState;
    this.#connect();
    addEventListener("online", () => this.now());
  }
  get position() { return this.#position; }
  now() { if (!this.#socket && !this.#closed) this.#connect(); }
  close() { this.#closed = true; clearInterval(this.#timer); this.#socket?.close(); }
  #connect() {
    clearInterval(this.#timer);
    const url = new URL("/v1/events", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    for (const [key, value] of Object.entries(this.#query)) url.searchParams.append(key, value);
    if (this.#position) url.searchParams.set("after", this.#position);
    this.#onState({ kind: "loading" });
    const socket = this.#socket = new WebSocket(url);
    const alive = () => { clearTimeout(this.#watch); this.#watch = setTimeout(() => socket.close(), 30000); };
    let refused = null;
    alive();
    socket.onmessage = ({ data }) => {
      alive();
      for (const line of data.split("\n")) {
        const message = JSON.parse(line);
        if (message.type === "error") { if (!message.retry) refused = message; continue; }
        if (message.position && message.type !== "replay") this.#position = message.position;
        this.#onMessage(message);
      }
    };
    socket.onopen = () => { this.#wait = 1000; this.#onState({ kind: "live" }); };
    socket.onclose = () => {
      clearTimeout(this.#watch);
      if (this.#socket !== socket) return;
      this.#socket = null;
      if (this.#closed) return;
      if (refused) return this.#onState({ kind: "refused", text: `${refused.error}: ${refused.cure}` });
      const due = Date.now() + this.#wait;
      this.#wait = Math.min(this.#wait * 1.7, 15000);
      const count = () => {
        const left = due - Date.now();
        if (left <= 0) return this.#connect();
        this.#onState({ kind: "lost", seconds: Math.ceil(left / 1000) });
      };
      count();
      this.#timer = setInterval(count, 250);
    };
  }
}
