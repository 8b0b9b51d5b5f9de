// One call: axis, transcript, evidence and playback are one selection, which the address keeps.
import { $, chip, clock, colour, el, get, late, name, put, say, signed, stateOf, title, via } from "/static/dom.js";
import { Axis } from "/static/axis.js";
import { Curves } from "/static/curves.js";
import { evidence } from "/static/evidence.js";
import { Faces } from "/static/faces.js";
import { figures } from "/static/figures.js";
import { shiftList, turnsOf } from "/static/shifts.js";
import { announce, first, follow, keys, recount } from "/static/shell.js";
import { Transcript } from "/static/transcript.js";

const session = decodeURIComponent(location.pathname.slice("/calls/".length)), path = `/v1/sessions/${encodeURIComponent(session)}`;
const narrow = matchMedia("(max-width: 860px)"), calm = matchMedia("(prefers-reduced-motion: reduce)");
const LONG = 20 * 60, PART = 10 * 60, LEAST = 15; // seconds: from LONG on the axis opens on a PART of the call
let call = null, events = [], partials = new Map(), selected = null, position = 0, following = true, media = null;
let part = null, low = 0, turned = new Map(), byId = new Map(), fresh = Date.now();

const axis = new Axis($("lanes"), { onSelect: id => select(id), onSeek: (ms, who) => seek(ms, who), onView: to => { setFollow(false); setView(to); } });
const curves = new Curves(session, axis), faces = new Faces(path);
const turns = new Transcript($("turns"), { onSelect: id => find(id) ? select(id) : show(partials.get(id)), onPoint: id => show(find(id) ?? partials.get(id)), onLeave: () => show(find(selected)) });
const live = () => call.state.state === "live";
const length = () => Math.max(call.state.duration_ms, call.state.position_ms, events.reduce((most, e) => Math.max(most, e.end_ms), 0), ...[...partials.values()].map(e => e.end_ms), 1000);
const total = () => Math.max(length() / 1000, live() ? 60 : 0);
axis.redraw = () => {
  const end = total(), air = end * 0.012, whole = part && part < end ? [-air, end + air] : null;
  axis.draw(call.state, events, call.state.alerts, call.metrics, { shifts: call.metrics.shifts ?? [], faces: faces.lane(find, colour), whole, curves: Boolean(window.Bokeh) && !curves.rows });
};
const find = id => byId.get(id);
const open = () => [...partials.values()].filter(p => !byId.has(p.id));
const nearest = (ms, who) => {
  let best = null, cost = Infinity;
  for (const e of events) {
    if (who && e.participant !== who) continue;
    const away = ms < e.start_ms ? (e.start_ms - ms) * 2 : ms >= e.end_ms ? ms - e.end_ms + 1 : e.status === "withheld" ? 1 : e.kind === "utterance" ? 0 : 0.5;
    if (away < cost) { cost = away; best = e; }
  }
  return best;
};
// Shows a part of the call from `from` seconds on; without it the part that holds the position (the end, while following).
const setView = from => {
  const end = total();
  let view = [0, end];
  if (part && part < end) {
    const now = position / 1000;
    if (from !== undefined) low = from;
    else if (following && live()) low = end - part;
    else if (now < low || now > low + part) low = now - part * 0.3;
    low = Math.max(0, Math.min(low, end - part));
    view = [low, low + part];
  }
  const air = (view[1] - view[0]) * 0.012;
  axis.show(view[0] - air, view[1] + air);
  curves.show(view[0] - air, view[1] + air);
  $("closer").disabled = (part ?? end) <= LEAST;
  $("wider").disabled = $("whole").disabled = !part || part >= end;
};
const zoom = by => {
  const end = total(), to = Math.max(LEAST, (part ?? end) * by), middle = position / 1000 >= low && position / 1000 <= low + (part ?? end) ? position / 1000 : low + (part ?? end) / 2;
  const share = part ? (middle - low) / part : middle / end;
  const strip = Boolean(part && part < end);
  part = to >= end ? null : to;
  if (strip !== Boolean(part)) axis.redraw();
  setView(part ? middle - share * part : undefined);
};

const none = () => live() ? "Nobody has spoken and no face was seen yet." : "Nobody spoke and no face was seen.";
const list = () => turns.set([...events, ...open()].sort((a, b) => a.start_ms - b.start_ms || a.end_ms - b.end_ms), none(), turned);
const show = e => {
  if (e) put($("panel"), evidence(e, call.state.participants.find(p => p.id === e.participant), { turned: turned.get(e.id) ?? null, crop: faces.get(e.id) ?? null }));
  else put($("panel"), el("p", { class: "empty" }, live() && !events.length ? "What an expression rests on stands here with the first words." : "Choose a moment."));
};
const select = (id, { write = true, focus = false, move = true, sheet = true, user = true } = {}) => {
  const e = find(id);
  if (!e) return;
  if (user) setFollow(e === events.at(-1) && live());
  selected = id;
  turns.select(id, { focus, reveal: !narrow.matches || user });
  axis.select(e);
  show(e);
  place(e.start_ms);
  setView();
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
  const i = events.findIndex(e => e.id === selected), to = events[Math.max(0, Math.min(events.length - 1, i + by))];
  if (to) select(to.id, { focus: document.activeElement?.classList.contains("turn") });
};
const nudge = ms => {
  place(position + ms);
  const e = nearest(position), at = position;
  if (e && e.start_ms <= position && position < e.end_ms && e.id !== selected) { select(e.id, { move: false }); place(at); }
  setView();
  if (media?.readyState > 0) media.currentTime = position / 1000;
};
const setFollow = on => { following = on; $("follow").setAttribute("aria-pressed", String(on)); };
// The newest moment, of somebody whose expression may be shown where there is one: how are they now?
const latest = () => {
  const e = events.findLast(x => x.status !== "withheld" && length() - x.end_ms < 30000) ?? events.at(-1);
  if (!e) return;
  select(e.id, { user: false });
  place(length());
  turns.end();
};

// Where the valence of somebody is heading: the mean of the last four points against the four before.
const heading = trend => {
  const mean = points => points.reduce((sum, p) => sum + p.valence, 0) / points.length;
  if (trend.length < 8) return null;
  const by = mean(trend.slice(-4)) - mean(trend.slice(-8, -4));
  return by > 0.15 ? "rising" : by < -0.15 ? "falling" : "level";
};
const now = p => {
  const to = heading(p.trend);
  return el("span", { class: "nowof" }, el("b", {}, name(p.id)), p.label === null ? el("span", { class: "quiet" }, " nothing yet")
    : [chip(p.label, `${p.label}${p.confidence === null || p.label === "unknown" ? "" : ` ${p.confidence.toFixed(2)}`}`), ` since ${clock(p.since_ms)}`,
      p.valence === null ? null : `, valence ${signed(p.valence)}${to ? `, ${to}` : ""} (${p.measured} measured)`]);
};
const head = () => {
  const s = call.state, fired = s.alerts.filter(a => a.alert.status === "open");
  $("story").textContent = call.headline.text;
  document.title = `${document.title.match(/^\(\d+\) /)?.[0] ?? ""}${title(session, s.media)} · affectstream`;
  const kept = s.has_video ? s.has_audio ? null : "picture without sound" : "sound without picture";
  put($("about"), el("b", { title: session }, title(session, s.media)),
    el("span", {}, live() ? el("span", { class: "on" }, "live") : "ended"), el("span", {}, clock(length())), el("span", {}, `${events.length} event${events.length === 1 ? "" : "s"}`),
    via(s.media) ? el("span", {}, via(s.media)) : null, kept ? el("span", {}, kept) : null,
    el("span", {}, el("a", { href: `${path}/report` }, "report")), el("span", {}, el("a", { href: `/compare?a=${encodeURIComponent(session)}` }, "compare")));
  const counted = new Map();
  for (const { alert, acknowledged } of fired) { const text = `⚑ ${alert.rule}${acknowledged ? ` (taken by ${acknowledged.by})` : ""}`; counted.set(text, [text, acknowledged, (counted.get(text)?.[2] ?? 0) + 1]); }
  const flags = [...counted.values()];
  const who = live() ? s.participants.filter(p => p.analysed).sort((a, b) => (b.role === "customer") - (a.role === "customer") || (a.valence ?? 1) - (b.valence ?? 1)).slice(0, 3) : [];
  put($("now"), who.map(now), late(s, Date.now() - fresh), ...flags.map(([text, taken, n]) => el("a", { class: `flagged ${taken ? "taken" : ""}`, href: "/alerts" }, `${text}${n > 1 ? ` ×${n}` : ""}`)));
  $("follow").hidden = !live();
  document.body.toggleAttribute("data-live", live());
  $("seek").hidden = !events.some(e => e.transcript?.text);
  $("h-said").textContent = s.has_audio ? "Transcript" : "What was seen";
};
// Of somebody whose expression is withheld all along it need not be said before each turn.
const silent = a => a.kind === "withheld" && call.state.participants.some(p => p.id === a.participant && !p.analysed);
const told = () => (call.metrics.shifts ?? []).map(s => ({ ...s, preceded_by: s.preceded_by.filter(a => !silent(a)) }));
const preceded = () => put($("shiftlist"), shiftList(told(), find, id => { select(id); $("stage").scrollIntoView({ block: "nearest" }); }, call.metrics.parameters?.shifts?.window_ms ?? 30000, preceded));
const draw = () => {
  head();
  axis.redraw();
  axis.soften(open());
  setView();
  list();
  if (following && live()) latest();
  else if (selected) { axis.select(find(selected)); place(position); }
  if (!selected) show(null);
  const made = axis.legend(events), shifts = call.metrics.shifts ?? [];
  put($("legend"), made.length ? [el("li", { class: "says" }, $("legend").dataset.says), made] : []);
  $("marks").hidden = !made.length;
  $("lanes").parentElement.toggleAttribute("data-many", call.state.participants.length > 3);
  if (call.state.participants.length > 3) $("lanes").parentElement.tabIndex = 0; // its own scroll, reached by keyboard
  $("shifts").hidden = !shifts.length;
  preceded();
  put($("facts"), figures(call.metrics));
  const box = $("turns");
  box.style.setProperty("--above", `${Math.round(box.getBoundingClientRect().top + scrollY)}px`);
};

const player = () => {
  if (!call.state.has_media || media) return;
  media = el(call.state.has_video ? "video" : "audio", { id: "media", controls: true, preload: "metadata", src: `${path}/media`, "aria-label": "Recording of the call" });
  $("player").replaceChildren(media);
  media.addEventListener("loadedmetadata", () => { const e = find(selected); if (e && !following) media.currentTime = e.start_ms / 1000; });
  media.addEventListener("timeupdate", () => {
    if (media.paused) return;
    const ms = media.currentTime * 1000, e = nearest(ms);
    if (e && e.id !== turns.playing) { turns.now(e.id); select(e.id, { user: false }); }
    place(ms);
    setView();
  });
  media.addEventListener("play", () => { setFollow(false); document.body.classList.toggle("live", !calm.matches); });
  media.addEventListener("pause", () => document.body.classList.remove("live"));
  media.addEventListener("error", () => { $("player").replaceChildren(el("span", { class: "quiet" }, "The recording cannot be played here.")); media = null; });
};

// The events are read once; afterwards they come by subscription and only state and figures are read again.
let due = 0, complete = false;
const order = () => { byId = new Map(events.map(e => [e.id, e])); events.sort((a, b) => a.start_ms - b.start_ms || a.end_ms - b.end_ms || (a.participant < b.participant ? -1 : 1)); };
const merge = e => {
  const known = byId.get(e.id);
  if (known && known.revision >= e.revision) return;
  partials.delete(e.id);
  if (known) events[events.indexOf(known)] = e; else events.push(e);
  order();
};
const read = async () => {
  const whole = !complete, before = call;
  call = await get(whole ? path : `${path}?events=false`);
  fresh = Date.now();
  if (whole) { events = call.events; complete = true; order(); }
  turned = turnsOf(call.metrics.shifts ?? []);
  for (const [id, p] of partials) if (!live() || p.end_ms <= call.state.position_ms - 30000 || byId.has(id)) partials.delete(id);
  if (!before && length() >= LONG * 1000) { part = PART; low = (call.headline.at_ms ?? 0) / 1000 - PART * 0.2; position = call.headline.at_ms ?? 0; }
  draw();
  player();
  curves.update().catch(() => {});
  if (call.state.has_media && call.state.has_video) faces.update().then(changed => { if (changed) { axis.redraw(); show(find(selected)); } }).catch(() => {});
};
const soon = () => { due ||= setTimeout(() => { due = 0; read().catch(soon); }, 400 + events.length * 2); };
// A new event stands on the axis and in the transcript at once; state and figures of the whole call come with the next reading.
let drawn = 0;
const quick = () => { drawn ||= setTimeout(() => { drawn = 0; axis.redraw(); axis.soften(open()); setView(); list(); if (following && live()) latest(); }, 60); };
const provisional = e => {
  if (byId.has(e.id) || !live() || (partials.get(e.id)?.revision ?? -1) >= e.revision) return;
  partials.set(e.id, e);
  axis.soften(open());
  if (following) { place(length()); setView(); }
  list();
  if (following) turns.end();
  if (selected === e.id) show(e);
};

$("close").addEventListener("click", () => { document.body.classList.remove("sheet"); turns.button(selected)?.focus(); });
$("follow").addEventListener("click", () => { setFollow(true); latest(); });
$("closer").addEventListener("click", () => zoom(0.5));
$("wider").addEventListener("click", () => zoom(2));
$("whole").addEventListener("click", () => zoom(1e9));
$("seek").addEventListener("submit", event => {
  event.preventDefault();
  const id = turns.find($("words").value, selected);
  if (id) select(id, { sheet: false });
  say(id ? `At ${clock(find(id).start_ms)}` : "These words are not in the transcript.");
  $("words").classList.toggle("ask", !id);
});
$("marks").open = !narrow.matches;
const fromAddress = () => {
  const given = new URLSearchParams(location.hash.slice(1)), t = Number.parseFloat(given.get("t"));
  const e = find(given.get("e")) ?? (Number.isFinite(t) ? nearest(t * 1000) : null);
  if (e) { setFollow(false); select(e.id, { write: false, sheet: false }); }
  return Boolean(e);
};
addEventListener("hashchange", fromAddress);
keys({
  j: () => step(1), k: () => step(-1), f: () => { if (live()) { setFollow(true); latest(); } }, a: () => { location.href = "/alerts"; },
  "+": () => zoom(0.5), "-": () => zoom(2), 0: () => zoom(1e9),
  ArrowRight: e => nudge(e.shiftKey ? 10000 : 1000), ArrowLeft: e => nudge(e.shiftKey ? -10000 : -1000),
  ArrowDown: e => e.target.closest(".turn") ? step(1) : false, ArrowUp: e => e.target.closest(".turn") ? step(-1) : false,
  Escape: () => document.body.classList.remove("sheet"), " ": () => media ? media.paused ? media.play() : media.pause() : false,
});

try {
  await first(read);
  document.body.dataset.state = "ready";
  if (!fromAddress() && !live()) { const e = call.headline.at_ms === null ? events[0] : nearest(call.headline.at_ms); if (e) select(e.id, { user: false }); }
  follow(call.position, { session }, message => {
    announce(message);
    if (message.type === "event" && message.event.status === "partial") return provisional(message.event);
    if (message.type === "event") { merge(message.event); quick(); }
    if (message.type === "missed" || (message.type === "replay" && message.reason)) complete = false;
    if (message.type === "alert") recount().catch(() => {});
    if (["event", "alert", "session", "missed"].includes(message.type) || !complete) soon();
  });
  recount().catch(() => {});
  // Silence, lag and alerts of a live call move on while nobody speaks.
  setInterval(() => { if (live() && !document.hidden) { if (Date.now() - fresh > 5000) soon(); else $("now").querySelector(".late")?.replaceWith(late(call.state, Date.now() - fresh) ?? ""); } }, 1000);
} catch (error) {
  document.body.dataset.state = "gone";
  $("story").textContent = "This call is not kept here";
  $("about").replaceChildren(
    el("p", {}, "It may have been erased or is older than what this server keeps, or the address is wrong: ", el("code", {}, session.slice(0, 120))),
    el("p", {}, el("a", { href: "/" }, "All calls"), " · ", el("a", { href: "/search" }, "Search")));
  $("link").hidden = true;
  if (!error.refused) throw error;
}
