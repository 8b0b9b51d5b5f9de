// Two calls on one scale of time, their figures side by side.
import { $, callHref, clock, el, get, name, percent, signed, title } from "/static/dom.js";
import { Axis } from "/static/axis.js";
import { announce, first, follow, keys, recount } from "/static/shell.js";

const form = $("choose");
const customer = doc => doc.metrics.participants.find(p => p.role === "customer") ?? doc.metrics.participants.find(p => p.valence !== null) ?? doc.metrics.participants[0];
const share = (doc, label) => {
  const stated = doc.events.filter(e => e.status !== "withheld" && e.label !== null), ms = list => list.reduce((s, e) => s + e.end_ms - e.start_ms, 0);
  return ms(stated) ? ms(stated.filter(e => e.label === label)) / ms(stated) : null;
};
const FIGURES = [
  ["Length", d => d.metrics.duration_ms, clock], ["Talk time", d => d.metrics.talk_ms, clock], ["Nobody speaks, 3 s or longer", d => d.metrics.non_talk_ms, clock],
  ["Interruptions", d => d.metrics.interruptions.filter(i => i.outcome === "success").length, String],
  ["Share of talk", d => customer(d)?.talk_ratio, percent, "customer"], ["Talk speed", d => customer(d)?.words_per_min, v => `${Math.round(v)} words a minute`, "customer"],
  ["Mean valence", d => customer(d)?.valence?.mean, signed, "customer"], ["Valence, first quarter", d => customer(d)?.valence?.quarters[0].valence, signed, "customer"],
  ["Valence, last quarter", d => customer(d)?.valence?.quarters[3].valence, signed, "customer"],
  ["Anger", d => share(d, "anger"), percent, "share of the voiced and seen time with a label"], ["Happiness", d => share(d, "happiness"), percent, "share as above"],
  ["Turns of expression", d => (d.metrics.shifts ?? []).length, String], ["Alerts", d => d.state.alerts.length, String],
];
const shown = (value, write) => value === null || value === undefined ? "none" : write(value);
const difference = (a, b, write) => {
  if (a === null || b === null || a === undefined || b === undefined) return "";
  const d = b - a;
  return write === clock ? `${d < 0 ? "−" : "+"}${clock(Math.abs(d))}` : write === percent ? `${d < 0 ? "−" : "+"}${Math.abs(Math.round(d * 100))} points` : write === signed ? signed(d) : `${d < 0 ? "−" : "+"}${Math.abs(Math.round(d))}`;
};
const compare = async () => {
  const a = form.elements.a.value, b = form.elements.b.value;
  if (!a || !b) return;
  history.replaceState(null, "", `?a=${encodeURIComponent(a)}&b=${encodeURIComponent(b)}`);
  const docs = await Promise.all([a, b].map(s => get(`/v1/sessions/${encodeURIComponent(s)}`)));
  const longest = Math.max(...docs.map(d => Math.max(d.state.duration_ms, d.metrics.duration_ms, 1000))) / 1000;
  const sides = docs.map((doc, i) => {
    const box = el("div", { class: "axis" }), session = doc.state.session;
    const axis = new Axis(box, { onSelect: id => { location.href = callHref(session, `#e=${id}`); }, onSeek: ms => { location.href = callHref(session, `#t=${(ms / 1000).toFixed(1)}`); } });
    axis.view = [-longest * 0.012, longest * 1.012];
    axis.draw(doc.state, doc.events, doc.state.alerts, doc.metrics, { shifts: doc.metrics.shifts ?? [] });
    axis.ruler.setAttribute("aria-label", `Position in call ${"AB"[i]}`);
    return el("section", { class: "side", "aria-label": `Call ${"AB"[i]}` }, el("h2", {}, `${"AB"[i]} · `, el("a", { href: callHref(session) }, title(session, doc.state.media))), el("p", {}, doc.headline.text), box);
  });
  $("sides").replaceChildren(...sides, el("p", { class: "quiet" }, `Both on one scale of ${clock(longest * 1000)}.`), el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Figures of both calls" },
    el("table", { class: "figs" }, el("thead", {}, el("tr", {}, el("td"), ["A", "B", "B − A"].map(t => el("th", { scope: "col" }, t)))), el("tbody", {}, FIGURES.map(([title, of, write, note]) =>
      el("tr", {}, el("th", { scope: "row" }, title, note ? el("small", {}, ` ${note}`) : null), ...docs.map(d => el("td", {}, shown(of(d), write))), el("td", {}, difference(of(docs[0]), of(docs[1]), write))))))));
};
// Of an archive of thousands the pickers hold the newest; words of a name find the others.
const fillPickers = async () => {
  const { sessions } = await get(`/v1/sessions?limit=200${$("named").value ? `&q=${encodeURIComponent($("named").value)}` : ""}`), asked = new URLSearchParams(location.search);
  for (const [key, i] of [["a", 0], ["b", 1]]) {
    const select = form.elements[key], chosen = select.value || asked.get(key) || sessions.filter(s => s.session !== asked.get("a"))[asked.get("a") ? 0 : i]?.session || "";
    const options = sessions.map(s => el("option", { value: s.session }, title(s.session, s.media)));
    if (chosen && !sessions.some(s => s.session === chosen)) options.unshift(el("option", { value: chosen }, title(chosen, "")));
    select.replaceChildren(...options);
    select.value = chosen;
  }
  return sessions.length;
};
const found = await first(fillPickers);
$("named").addEventListener("change", event => { event.stopPropagation(); fillPickers().catch(() => {}); });
form.addEventListener("change", event => { if (event.target !== $("named")) compare().catch(fault); });
form.addEventListener("submit", event => event.preventDefault());
const fault = error => { $("sides").replaceChildren(el("p", { class: "empty", role: "status" }, error.message)); };
if (found < 2) $("sides").replaceChildren(el("p", { class: "empty" }, found ? "Only one call is kept here; a comparison needs two." : "No calls yet."));
else await compare().catch(fault);
keys({ a: () => { location.href = "/alerts"; } });
follow(null, { type: "alert" }, message => { announce(message); if (message.type === "alert") recount().catch(() => {}); });
recount().catch(() => {});
