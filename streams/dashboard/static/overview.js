// All calls, those that need somebody first. The server keeps the state of each; this page shows it.
import { $, callHref, chip, clock, el, get, late, name, percent, put, signed, spark, title, when } from "/static/dom.js";
import { announce, count, first, follow, keys } from "/static/shell.js";

const items = new Map();
const ENDED = 60; // finished calls shown; the search finds the others
let states = [], now = 0, total = 0, whole = true, readAt = Date.now();

const main = state => state.participants.filter(p => p.analysed).sort((a, b) => (b.role === "customer") - (a.role === "customer") || (a.valence ?? 1) - (b.valence ?? 1));
const open = state => state.alerts.filter(a => a.alert.status === "open");
const length = s => s.state === "ended" ? s.duration_ms : s.position_ms + (s.paced ? 0 : Math.max(0, now - s.updated_wall_ms));
const silence = s => s.silent_since_ms === null || s.state === "ended" ? null : Math.max(0, length(s) - s.silent_since_ms);

const person = p => {
  const state = !p.analysed ? "withheld" : p.label ?? "";
  const text = state === "withheld" ? "withheld" : `${p.label}${p.confidence === null || p.label === "unknown" ? "" : ` ${p.confidence.toFixed(2)}`}`;
  return el("div", { class: "person" }, el("b", {}, name(p.id)), " ", state ? chip(state, text) : el("span", { class: "quiet" }, "nothing yet"));
};
const balance = s => {
  const total = s.participants.reduce((sum, p) => sum + p.talk_ms, 0), most = s.participants.filter(p => p.talk_ms).sort((a, b) => b.talk_ms - a.talk_ms);
  if (!total) return [el("span", { class: "quiet" }, "nobody spoke")];
  return [el("div", { class: "talkbar", "aria-hidden": "true" }, s.participants.filter(p => p.talk_ms).map(p => el("i", { style: { "flex-grow": p.talk_ms } }))),
    el("small", {}, (most.length > 3 ? most.slice(0, 3) : s.participants.filter(p => p.talk_ms)).map(p => `${name(p.id)} ${percent(p.talk_ms / total)}`).join(" · ") + (most.length > 3 ? ` · and ${most.length - 3} more` : ""))];
};
const alertsOf = s => {
  const live = open(s);
  if (live.length) return live.map(({ alert, acknowledged }) => el("div", { class: `flag ${acknowledged ? "taken" : alert.severity}` },
    el("span", { class: "mark", "aria-hidden": "true" }, acknowledged ? "✓" : "!"), el("span", {}, el("b", {}, alert.rule), el("small", {}, acknowledged ? ` taken by ${acknowledged.by}` : ` ${alert.severity}, since ${clock(alert.start_ms)}`))));
  const past = s.alerts.length;
  return [el("span", { class: "quiet" }, past ? `${past} closed` : "none")];
};
const cell = (label, kind, ...content) => el("div", { class: `c ${kind}` }, el("span", { class: "cap" }, label), ...content);

const fill = (li, s) => {
  const people = main(s), quiet = silence(s), tone = people[0];
  const rest = s.participants.filter(p => !people.includes(p));
  li.className = `call ${s.state} ${s.attention >= 10 ? "urgent" : ""}`;
  put(li,
    el("div", { class: "c id" }, el("a", { href: callHref(s.session), title: s.session }, title(s.session, s.media)), " ",
      el("small", {}, s.state === "live" ? el("span", { class: "on" }, "live") : "ended", ` · ${clock(length(s))}`, s.state === "live" ? "" : ` · ${when(s.updated_wall_ms, true)}`), late(s, Date.now() - readAt),
      s.last_said ? el("p", { class: "last", dir: "auto" }, el("span", { class: "quiet" }, `${name(s.last_said_by)}: `), s.last_said) : null),
    cell(s.state === "live" ? "Now" : "At the end", "now", ...people.slice(0, 3).map(person), people.length > 3 ? el("small", {}, `and ${people.length - 3} more`) : null, ...rest.slice(0, 2).map(person)),
    cell("Valence", "trend", tone ? el("div", { class: "tr" }, spark(tone.trend, { height: 38 }), tone.trend.length
      ? el("span", {}, el("b", {}, signed(tone.valence)), people.length > 1 ? el("small", {}, name(tone.id)) : null, el("small", {}, `${tone.measured} measured`)) : null) : el("span", { class: "quiet" }, "withheld")),
    cell("Talk balance", "talk", ...balance(s)),
    cell("Silence", `sil ${quiet > 15000 ? "long" : ""}`, quiet === null ? el("span", { class: "quiet" }, "–") : quiet < 1500 ? "speaking" : quiet < 60000 ? `${Math.round(quiet / 1000)} s` : clock(quiet)),
    cell("Alerts", `al ${open(s).length ? "fired" : ""}`, ...alertsOf(s)),
  );
};
const captions = now => ["first", "second"].map(which => el("div", { class: `caps ${which}`, "aria-hidden": "true" }, ["Call", now, "Valence", "Talk balance", "Silence", "Alerts"].map(text => el("span", {}, text))));

const short = s => title(s.session, s.media).replace(/\.[a-z0-9]{2,4}$/i, "");
const headline = () => {
  const live = states.filter(s => s.state === "live"), need = states.filter(s => s.attention >= 10);
  if (!states.length) return "No calls yet";
  if (need.length) return `${need.length === 1 ? "One call needs you now" : `${need.length} calls need you now`}: ${need.slice(0, 2).map(s => `${short(s)} (${s.attention_reason})`).join(", ")}${need.length > 2 ? ", …" : ""}`;
  const low = live.filter(s => s.attention > 0.3);
  if (!live.length) return `No call is live; ${states.length} finished`;
  return `${live.length} live call${live.length === 1 ? "" : "s"}; ${low.length ? `${low.length === 1 ? "one shows" : `${low.length} show`} negative expression` : "none needs you now"}`;
};

const render = () => {
  const told = headline();
  if ($("story").textContent !== told) $("story").textContent = told;
  const box = $("calls");
  if (!states.length) {
    box.replaceChildren(el("div", { class: "empty big" }, el("p", {}, "A call appears here with its first record."),
      el("p", { class: "quiet" }, "Send one with ", el("code", {}, "affectstream send CALL.wav --to ws://HOST:PORT/v1/ingest"), " or watch a recording with ", el("code", {}, "affectstream replay CALL.wav --out results --serve"), ".")));
    return;
  }
  const lists = [["Live", "live"], ["Finished", "ended"]].map(([heading, kind]) => {
    const of = states.filter(s => s.state === kind);
    if (!of.length) return null;
    const list = $(`list-${kind}`) ?? el("ol", { class: "calls", id: `list-${kind}`, "aria-label": `${heading} calls` });
    const wanted = of.map(s => {
      const li = items.get(s.session) ?? el("li", { "data-session": s.session });
      items.set(s.session, li);
      const mark = JSON.stringify([s, Math.round(length(s) / 1000)]);
      if (li.dataset.mark !== mark) { fill(li, s); li.dataset.mark = mark; }
      return li;
    });
    if (wanted.length !== list.children.length || wanted.some((li, i) => list.children[i] !== li)) { // what moves loses the focus
      const focused = list.contains(document.activeElement) ? document.activeElement : null;
      list.replaceChildren(...wanted);
      focused?.focus({ preventScroll: true });
    }
    const number = kind === "ended" ? total - (states.length - of.length) : of.length;
    return [el("h2", { class: "group" }, `${heading} `, el("span", { class: "quiet" }, String(number))), el("div", { class: "capsrow" }, captions(kind === "live" ? "Now" : "At the end")), list];
  });
  const more = total - states.length;
  put(box, lists, (more > 0 ? [el("p", {}, `${more} more finished call${more === 1 ? "" : "s"}: `, el("a", { href: "/search" }, "search"), ".")] : []));
};

let due = 0, reading = false;
const read = async () => {
  if (reading) { due ||= setTimeout(refresh, 300); return null; }
  reading = true;
  try {
    // Live calls change all the time; the finished ones are read again only when a session begins or ends.
    const all = whole, found = await get(all ? `/v1/sessions?limit=${ENDED}` : "/v1/sessions?state=live");
    ({ now_ms: now, total } = found);
    readAt = Date.now();
    if (all) whole = false;
    states = all ? found.sessions : [...found.sessions, ...states.filter(s => s.state === "ended" && !found.sessions.some(l => l.session === s.session))];
    count(states.reduce((sum, s) => sum + open(s).filter(a => !a.acknowledged).length, 0));
    render();
    return found;
  } finally { reading = false; }
};
const refresh = () => { clearTimeout(due); due = 0; read().catch(() => {}); };
const soon = () => { due ||= setTimeout(refresh, 300); };

const found = await first(read);
follow(found.position, { finals_only: "true" }, message => { announce(message); if (message.type === "heartbeat") return; whole ||= message.type !== "event"; soon(); });
setInterval(() => { if (!document.hidden && states.some(s => s.state === "live")) soon(); }, 1000);
const step = by => {
  const links = [...document.querySelectorAll(".call .id a")], at = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, at + by))]?.focus();
};
keys({ j: () => step(1), k: () => step(-1), a: () => { location.href = "/alerts"; } });
