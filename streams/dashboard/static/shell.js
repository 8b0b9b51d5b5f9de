// What all pages share: the state of the connection, the count of open alerts, the list of keys.
import { $, get, say } from "/static/dom.js";
import { Live } from "/static/live.js";

let before = "";
let retry = () => {};
const show = state => {
  const text = { live: "connected", loading: "connecting", refused: state.text, lost: `Connection lost · live again in ${state.seconds} s; nothing is lost` }[state.kind];
  $("link").dataset.state = state.kind;
  $("retry").hidden = state.kind !== "lost";
  $("link-text").textContent = text;
  if (state.kind !== before && (state.kind === "lost" || (state.kind === "live" && before === "loading" && heard))) say(state.kind === "lost" ? "Connection lost. It comes back by itself; nothing is lost." : "Live again.");
  if (state.kind === "lost") heard = true;
  before = state.kind;
};
let heard = false;

export const count = open => {
  const badge = $("open-count");
  badge.hidden = !open;
  badge.textContent = open;
  badge.title = `${open} open alert${open === 1 ? "" : "s"} nobody has taken`;
  document.title = document.title.replace(/^\(\d+\) /, "");
  if (open) document.title = `(${open}) ${document.title}`;
};
export const follow = (position, query, onMessage) => {
  const live = new Live({ position, query, onMessage, onState: show });
  retry = () => live.now();
  return live;
};
$("retry").addEventListener("click", () => retry());
export const recount = async () => { count((await get("/v1/alerts")).alerts.filter(a => a.alert.status === "open" && !a.acknowledged).length); };
export const announce = message => {
  if (message.type === "alert" && message.alert.status === "open" && !message.acknowledged) say(`Alert ${message.alert.rule}: ${message.alert.session}`);
};
// First reading that waits for a server that is not there yet.
export const first = async read => {
  for (let wait = 1000; ; wait = Math.min(wait * 1.7, 15000)) {
    try { return await read(); } catch (error) {
      if (error.refused) throw error;
      let at_once = false;
      for (let left = Math.ceil(wait / 1000); left > 0 && !at_once; left--) {
        show({ kind: "lost", seconds: left });
        await new Promise(done => { retry = () => { at_once = true; done(); }; setTimeout(done, 1000); });
      }
    }
  }
};
export const keys = actions => document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open || event.target.closest("input, textarea, select, video, audio")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = key === "?" ? () => $("keys").showModal() : actions[key];
  if (!action || (key === " " && event.target.closest("button:not(.turn), a, summary"))) return;
  if (action(event) !== false) event.preventDefault();
});
$("help").addEventListener("click", () => $("keys").showModal());
