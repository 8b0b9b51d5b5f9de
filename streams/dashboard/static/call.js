// One call: axis, transcript, evidence and playback are one selection, which the address keeps.
import { $, callHref, chip, clock, el, get, name, percent, say, signed, stateOf } from "/static/dom.js";
import { Axis } from "/static/axis.js";
import { Curves } from "/static/curves.js";
import { evidence } from "/static/evidence.js";
import { announce, first, follow, keys, recount } from "/static/shell.js";

const session = decodeURIComponent(location.pathname.slice("/calls/".length)), path = `/v1/sessions/${encodeURIComponent(session)}`;
const narrow = matchMedia("(max-width: 860px)"), calm = matchMedia("(prefers-reduced-motion: reduce)");
let call = null, events = [], partials = new Map(), selected = null, position = 0, following = true, whole = true, media = null;
const rows = new Map();

const axis = new Axis($("lanes"), { onSelect: id => select(id), onSeek: (ms, who) => seek(ms, who) });
const curves = new Curves(session, axis);
axis.redraw = () => axis.draw(call.state, events, call.state.alerts, call.metrics);

const length = () => Math.max(call.state.duration_ms, call.state.position_ms, ...events.map(e => e.end_ms), 1000);
const shown = () => [...events, ...[...partials.values()].filter(p => !events.some(e => e.id === p.id))];
const find = id => events.find(e => e.id === id);
const nearest = (ms, who) => {
  let best = null, cost = Infinity;
  for (const e of events) {
    if (who && e.participant !== who) continue;
    const away = ms < e.start_ms ? (e.start_ms - ms) * 2 : ms >= e.end_ms ? ms - e.end_ms + 1 : e.status === "withheld" ? 1 : e.kind === "utterance" ? 0 : 0.5;
    if (away < cost) { cost = away; best = e; }
  }
  return best;
};
const setView = () => {
  const end = length() / 1000, wide = end > 600 && !whole;
  const [low, high] = wide ? [Math.max(0, Math.min(end - 600, following ? end - 600 : position / 1000 - 300)), 0] : [0, Math.max(end, call.state.state === "live" ? 60 : end)];
  const view = wide ? [low, low + 600] : [low, high], air = (view[1] - view[0]) * 0.012;
  axis.show(view[0] - air, view[1] + air);
  curves.show(view[0] - air, view[1] + air);
};

// Transcript: rows are kept, new ones are added, so that focus and scroll stay.
const fill = e => {
  const state = stateOf(e), p = e.probabilities?.[e.label];
  const words = e.transcript?.text?.trim();
  const unsaid = e.kind === "face" ? `seen while silent, to ${clock(e.end_ms)}` : "nothing understood";
  return [el("span", { class: "time" }, clock(e.start_ms)), el("span", { class: "name" }, name(e.participant)),
    chip(state, state === "withheld" ? "withheld" : `${state}${p === undefined ? "" : ` ${p.toFixed(2)}`}`),
    e.context?.shift && e.context.previous && e.context.previous !== "unknown" ? el("span", { class: "shift" }, `was ${e.context.previous}`) : null,
    el("span", { class: "said", dir: "auto", lang: e.transcript?.language || null }, words || el("em", {}, unsaid))];
};
const list = () => {
  const box = $("turns"), all = shown().sort((a, b) => a.start_ms - b.start_ms || a.end_ms - b.end_ms);
  const wanted = all.map(e => {
    let li = rows.get(e.id);
    const mark = `${e.revision} ${e.status}`;
    if (!li) { li = el("li", {}, el("button", { type: "button", class: "turn", tabindex: -1, "data-id": e.id })); rows.set(e.id, li); }
    if (li.dataset.mark !== mark) { li.dataset.mark = mark; li.firstChild.replaceChildren(...fill(e).filter(Boolean)); li.firstChild.classList.toggle("partial", e.status === "partial"); }
    return li;
  });
  for (const [id, li] of rows) if (!wanted.includes(li)) { li.remove(); rows.delete(id); }
  wanted.forEach((li, i) => { if (box.children[i] !== li) box.insertBefore(li, box.children[i] ?? null); });
  box.hidden = !wanted.length;
  if (!$("no-words")) box.after(el("p", { class: "empty", id: "no-words" }, "Nobody has spoken and no face was seen yet."));
  $("no-words").hidden = wanted.length > 0;
  if (!box.querySelector('[tabindex="0"]')) wanted[0]?.firstChild.setAttribute("tabindex", 0);
};
const reveal = id => {
  const box = $("turns"), li = rows.get(id);
  if (!li || narrow.matches) return;
  const r = li.getBoundingClientRect(), b = box.getBoundingClientRect();
  if (r.top < b.top || r.bottom > b.bottom) box.scrollTop += r.top - b.top - box.clientHeight / 2 + r.height;
};

const show = e => { if (e) $("panel").replaceChildren(...evidence(e, call.state.participants.find(p => p.id === e.participant))); };
const select = (id, { write = true, focus = false, move = true, sheet = true, user = true } = {}) => {
  const e = find(id);
  if (!e) return;
  if (user) setFollow(e === events.at(-1) && call.state.state === "live");
  const button = rows.get(id)?.firstChild;
  $("turns").querySelector('[aria-current="true"]')?.removeAttribute("aria-current");
  for (const b of $("turns").querySelectorAll('[tabindex="0"]')) b.tabIndex = -1;
  selected = id;
  if (button) { button.setAttribute("aria-current", "true"); button.tabIndex = 0; if (focus) button.focus({ preventScroll: true }); reveal(id); }
  axis.select(e);
  show(e);
  place(e.start_ms);
  if (user && sheet) document.body.classList.add("sheet");
  if (move && media?.readyState > 0 && user) media.currentTime = e.start_ms / 1000;
  if (write && user) history.replaceState(null, "", `#t=${e.start_ms / 1000}&e=${e.id}`);
};
const place = ms => {
  position = Math.max(0, Math.min(ms, length()));
  const e = nearest(position);
  axis.place(position, clock(position) + (e && e.start_ms <= position && position < e.end_ms ? `, ${e.participant}: ${stateOf(e)}` : ""));
};
const seek = (ms, who) => {
  const e = nearest(ms, who);
  if (e) select(e.id, { move: false });
  place(ms);
  if (media?.readyState > 0) media.currentTime = position / 1000;
};
const step = by => {
  const i = events.findIndex(e => e.id === selected);
  const to = events[Math.max(0, Math.min(events.length - 1, i + by))];
  if (to) select(to.id, { focus: document.activeElement?.classList.contains("turn") });
};
const nudge = ms => {
  place(position + ms);
  const e = nearest(position);
  if (e && e.start_ms <= position && position < e.end_ms && e.id !== selected) { const at = position; select(e.id, { move: false }); place(at); }
  if (media?.readyState > 0) media.currentTime = position / 1000;
};
const setFollow = on => {
  following = on;
  const b = $("follow");
  if (b) b.setAttribute("aria-pressed", String(on));
};

const figures = () => {
  const m = call.metrics, people = m.participants;
  if (!people.length) return [el("p", { class: "empty" }, "Nobody spoke yet, so there is nothing to count.")];
  const made = m.interruptions.filter(i => i.outcome === "success").length;
  const cell = (v, n, unit = "") => v === null || v === undefined ? "none · 0" : `${v}${unit} · ${n}`;
  const table = [
    ["Talk time", "voice activity", p => clock(p.talk_ms)], ["Share of talk", "of all talk time", p => p.talk_ratio === null ? "none" : percent(p.talk_ratio)],
    ["Utterances", "in turns", p => `${p.utterances} in ${p.turns}`], ["Talk speed", "words a minute · utterances", p => cell(p.words_per_min === null ? null : Math.round(p.words_per_min), p.worded_utterances)],
    ["Loudness", "LUFS · utterances", p => cell(p.loudness_lufs === null ? null : p.loudness_lufs.toFixed(1).replace("-", "−"), p.loudness_count)],
    ["Answers after", "median · answers", p => cell(p.response.median_ms === null ? null : (p.response.median_ms / 1000).toFixed(1).replace("-", "−"), p.response.count, " s")],
    ["Interrupts", "and attempts", p => `${p.interruptions_made} and ${p.interruption_attempts}`],
    ["Valence by quarter", "mean · utterances", p => p.valence === null ? "withheld" : p.valence.quarters.map(q => `${signed(q.valence)} · ${q.count}`).join("  |  ")],
    ["Valence trend", "a minute · utterances", p => p.valence === null ? "withheld" : p.valence.trend.slope_per_min === null ? "too few utterances" : `${signed(p.valence.trend.slope_per_min)} · ${p.valence.trend.count}`],
  ];
  return [el("dl", { class: "facts" }, [["Somebody speaks", clock(m.talk_ms)], ["Nobody speaks, 3 s or longer", m.non_talk.length ? `${clock(m.non_talk_ms)} · ${m.non_talk.length}` : "never"],
    ["Several speak at once", m.overlaps.length ? `${(m.overlap_ms / 1000).toFixed(1)} s · ${m.overlaps.length}` : "never"], ["Interruptions", `${made} · ${m.interruptions.length - made} attempts`]]
    .map(([t, v]) => el("div", {}, el("dt", {}, t), el("dd", {}, v)))),
    el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Figures by participant" }, el("table", {},
      el("thead", {}, el("tr", {}, el("td"), people.map(p => el("th", { scope: "col" }, name(p.participant))))),
      el("tbody", {}, table.map(([t, x, v]) => el("tr", {}, el("th", { scope: "row" }, t, el("small", {}, ` ${x}`)), people.map(p => el("td", {}, v(p))))))))];
};
const head = () => {
  const s = call.state;
  const open = s.alerts.filter(a => a.alert.status === "open");
  $("story").textContent = call.headline.text;
  document.title = `${document.title.match(/^\(\d+\) /)?.[0] ?? ""}${s.media || session} · affectstream`;
  $("about").replaceChildren(...[el("b", {}, s.media || session), el("span", {}, s.state === "live" ? "live" : "ended"), el("span", {}, clock(length())), el("span", {}, `${events.length} events`),
    el("span", {}, el("a", { href: `${path}/report` }, "report")), el("span", {}, el("a", { href: `/compare?a=${encodeURIComponent(session)}` }, "compare")),
    ...open.map(({ alert, acknowledged }) => el("span", {}, el("a", { class: "warn", href: "/alerts" }, `⚑ ${alert.rule}${acknowledged ? ` (taken by ${acknowledged.by})` : ""}`)))]);
  const tools = $("tools");
  if (!tools.children.length) tools.append(
    el("button", { type: "button", id: "follow", "aria-pressed": "true", onclick: () => { setFollow(true); latest(); } }, "Follow"),
    el("button", { type: "button", id: "whole", "aria-pressed": String(whole), onclick: event => { whole = !whole; event.currentTarget.setAttribute("aria-pressed", String(whole)); setView(); } }, "Whole call"));
  $("follow").hidden = s.state !== "live";
  $("whole").hidden = length() < 600000;
};
const latest = () => { const e = events.at(-1); if (e) { select(e.id, { user: false }); place(e.end_ms); } };
const draw = () => {
  head();
  axis.redraw();
  setView();
  list();
  if (following && call.state.state === "live") latest();
  else if (selected) { axis.select(find(selected)); place(position); }
  $("legend").replaceChildren(...axis.legend(events));
  $("facts").replaceChildren(...figures());
  const turns = $("turns");
  turns.style.setProperty("--above", `${Math.round(turns.getBoundingClientRect().top + scrollY)}px`);
};

const player = () => {
  if (!call.state.has_media || media) return;
  media = el(call.state.has_video ? "video" : "audio", { id: "media", controls: true, preload: "metadata", src: `${path}/media`, "aria-label": "Recording of the call" });
  $("player").replaceChildren(media);
  let now = null;
  media.addEventListener("timeupdate", () => {
    if (media.paused) return;
    const ms = media.currentTime * 1000, e = nearest(ms);
    place(ms);
    if (!whole) setView();
    if (e && e.id !== now) {
      rows.get(now)?.firstChild.classList.remove("now");
      now = e.id;
      rows.get(now)?.firstChild.classList.add("now");
      select(e.id, { user: false });
      place(ms);
    }
  });
  media.addEventListener("play", () => { setFollow(false); document.body.classList.toggle("live", !calm.matches); });
  media.addEventListener("pause", () => document.body.classList.remove("live"));
  media.addEventListener("error", () => { $("player").replaceChildren(el("span", { class: "quiet" }, "The recording cannot be played here.")); media = null; });
};

// The events are read once; afterwards they come by subscription and only state and figures are read again.
let due = 0, complete = false;
const merge = e => {
  const i = events.findIndex(known => known.id === e.id);
  if (i >= 0 && events[i].revision >= e.revision) return;
  if (i >= 0) events[i] = e; else events.push(e);
  events.sort((a, b) => a.start_ms - b.start_ms || a.end_ms - b.end_ms || (a.participant < b.participant ? -1 : 1));
};
const read = async () => {
  const whole = !complete;
  call = await get(whole ? path : `${path}?events=false`);
  if (whole) { events = call.events; complete = true; }
  for (const [id, p] of partials) if (p.end_ms <= call.state.position_ms - 30000 || find(id)) partials.delete(id);
  draw();
  player();
  curves.update().catch(() => {});
};
const soon = () => { due ||= setTimeout(() => { due = 0; read().catch(soon); }, 400); };

$("turns").addEventListener("click", event => { const b = event.target.closest(".turn"); if (b) select(b.dataset.id); });
$("turns").addEventListener("pointerover", event => { const b = event.target.closest(".turn"); if (b && event.pointerType === "mouse") show(find(b.dataset.id) ?? partials.get(b.dataset.id)); });
$("turns").addEventListener("pointerleave", () => show(find(selected)));
$("close").addEventListener("click", () => { document.body.classList.remove("sheet"); rows.get(selected)?.firstChild.focus(); });
const fromAddress = () => {
  const given = new URLSearchParams(location.hash.slice(1)), t = Number.parseFloat(given.get("t"));
  const e = find(given.get("e")) ?? (Number.isFinite(t) ? nearest(t * 1000) : null);
  if (e) { setFollow(false); select(e.id, { write: false, sheet: false }); }
  return Boolean(e);
};
addEventListener("hashchange", fromAddress);
keys({
  j: () => step(1), k: () => step(-1), f: () => { setFollow(true); latest(); }, a: () => { location.href = "/alerts"; },
  ArrowRight: e => nudge(e.shiftKey ? 10000 : 1000), ArrowLeft: e => nudge(e.shiftKey ? -10000 : -1000),
  ArrowDown: e => e.target.closest(".turn") ? step(1) : false, ArrowUp: e => e.target.closest(".turn") ? step(-1) : false,
  Escape: () => document.body.classList.remove("sheet"), " ": () => media ? media.paused ? media.play() : media.pause() : false,
});

try {
  await first(read);
  if (!fromAddress()) { const e = call.state.state === "live" ? events.at(-1) : call.headline.at_ms === null ? events[0] : nearest(call.headline.at_ms); if (e) select(e.id, { user: false }); }
  follow(call.position, { session }, message => {
    announce(message);
    if (message.type === "event" && message.event.status === "partial") { partials.set(message.event.id, message.event); if (call.state.state === "live") { list(); if (following) $("turns").scrollTop = 1e9; } return; }
    if (message.type === "event") merge(message.event);
    if (message.type === "missed" || (message.type === "replay" && message.reason)) complete = false;
    if (message.type === "alert") recount().catch(() => {});
    if (["event", "alert", "session", "missed", "replay"].includes(message.type)) soon();
  });
  recount().catch(() => {});
  setInterval(() => { if (call.state.state === "live" && !document.hidden) get(path).then(found => { if (found.state.state !== call.state.state) soon(); }).catch(() => {}); }, 10000);
} catch (error) {
  $("story").textContent = "This call is not kept here";
  $("stage").hidden = true;
  document.querySelector(".two").hidden = $("figures").hidden = true;
  $("about").replaceChildren(el("span", {}, error.message), el("span", {}, el("a", { href: "/" }, "all calls")));
  $("link").hidden = true;
}
