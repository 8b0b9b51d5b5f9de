// One time axis for everything: turns, participants as rows, labels as spans, faces, talk and silence, alerts as flags.
// What lies outside the view is not in the page; where one row has more spans than can be told apart, cells stand for them.
import { clock, colour, el, LABELS, lock, name, stateOf } from "/static/dom.js";
import { poor } from "/static/evidence.js";
import { turnTitle } from "/static/shifts.js";

const GAP_MS = 45000, MOST = 400, EVERYTHING = [-Infinity, Infinity];
const QUIET = new Set(["neutral", "unknown", "withheld"]);
export const episodes = events => {
  const found = [];
  for (const e of events) {
    const state = stateOf(e), last = found.at(-1);
    if (last && last.state === state && e.start_ms - last.end <= GAP_MS) { last.end = Math.max(last.end, e.end_ms); last.count++; }
    else found.push({ state, start: e.start_ms, end: e.end_ms, count: 1 });
  }
  return found;
};
// Cells over [start, end] ms: in each the label with the most time, any expression before neutral, so that no turn is smoothed away.
export const cells = (events, start, end, count) => {
  const width = (end - start) / count, held = new Map();
  for (const e of events) {
    for (let i = Math.max(0, Math.floor((e.start_ms - start) / width)); i < count && start + i * width < e.end_ms; i++) {
      const times = held.get(i) ?? new Map(), state = stateOf(e);
      held.set(i, times);
      times.set(state, (times.get(state) ?? 0) + Math.min(e.end_ms, start + (i + 1) * width) - Math.max(e.start_ms, start + i * width));
    }
  }
  const found = [];
  for (const [i, times] of [...held].sort((a, b) => a[0] - b[0])) {
    const [state] = [...times].sort((a, b) => QUIET.has(a[0]) - QUIET.has(b[0]) || b[1] - a[1])[0], last = found.at(-1);
    if (last && last.state === state && last.next === i) { last.end = start + (i + 1) * width; last.next++; }
    else found.push({ state, start: start + i * width, end: start + (i + 1) * width, next: i + 1 });
  }
  return found;
};
const at = (start, end) => ({ "--s": start / 1000, "--e": end / 1000 });
const kind = state => (state === "unknown" ? "hatch" : state === "withheld" ? "out" : "");
const within = (list, [from, to]) => from === -Infinity ? list : list.filter(e => e.end_ms / 1000 >= from && e.start_ms / 1000 <= to);
export const summary = (person, mine) => {
  if (!mine.length) return `${person.id}: nothing was said or seen yet`;
  if (!person.analysed) return `${person.id}: ${mine.length} events, emotion withheld (${person.reason || "policy"})`;
  return `${person.id}: ${episodes(mine).map(e => `${e.state} ${clock(e.start)} to ${clock(e.end)}`).slice(-12).join("; ")}`;
};

export class Axis {
  constructor(box, { onSelect, onSeek, onView = () => {} }) {
    Object.assign(this, { box, onSelect, onSeek, onView, view: [0, 60], painted: EVERYTHING, lanes: new Map(), spans: new Map(), curve: new Map(), soft: [], data: null });
    this.ruler = el("div", { class: "lane ruler", role: "slider", tabindex: 0, "aria-label": "Position in the call", "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0, "aria-valuetext": "0:00" });
    this.sel = el("div", { class: "sel" });
    this.head = el("div", { class: "head" });
    box.addEventListener("click", event => {
      const span = event.target.closest("[data-id]"), lane = event.target.closest(".lane");
      if (span) return onSelect(span.dataset.id);
      if (lane && lane !== this.strip) onSeek(this.timeOf(event), lane.dataset.p);
    });
    new ResizeObserver(() => { this.ticks(); this.thin(); }).observe(box);
  }
  timeOf(event, whole = false) {
    const r = this.ruler.getBoundingClientRect(), [start, end] = whole ? this.data.whole : this.view;
    return (start + (event.clientX - r.left) / r.width * (end - start)) * 1000;
  }
  // Everything anew, a few times a second at most. `faces`: the lane of faces, or null. `whole`: seconds of the whole call where a part is shown, or null.
  // `curves`: curves are on their way, their place is kept so that nothing jumps.
  draw(state, events, alerts, metrics, { shifts = [], faces = null, whole = null, curves = false } = {}) {
    const people = state.participants, of = new Map(people.map(p => [p.id, []]));
    for (const e of events) of.get(e.participant)?.push(e);
    this.data = { state, events, alerts, metrics, people, of, whole, episodes: new Map(people.map(p => [p.id, episodes(of.get(p.id))])) };
    const rows = [el("div", { class: "who quiet top" }, el("span", { class: "vh" }, "Time")), this.ruler];
    if (whole) rows.unshift(el("div", { class: "who quiet" }, "Whole call"), this.#strip());
    const several = this.several = new Set(shifts.map(s => s.participant)).size > 1;
    if (shifts.length) rows.push(el("div", { class: "who quiet" }, "Turns"), el("div", { class: "lane turns-lane", role: "img", "aria-label": shifts.map(turnTitle).join("; ") },
      shifts.map(s => el("i", { class: "pin", "data-id": s.event, title: turnTitle(s), style: { ...colour(s.after.label), ...at(s.at_ms, s.at_ms) } }, el("span", {}, several ? `${name(s.participant)}: ${s.after.label}` : s.after.label)))));
    const middle = [], waiting = curves ? people.filter(p => p.analysed && of.get(p.id).some(e => e.valence !== null)) : [], height = waiting.length <= 2 ? 72 : waiting.length === 3 ? 56 : 40;
    for (const person of people) {
      const keep = this.curve.get(person.id);
      middle.push(el("div", { class: "who" }, el("b", {}, name(person.id)), person.role !== person.id ? el("span", { class: "quiet" }, person.role) : null,
        person.analysed ? keep ? el("span", { class: "quiet scale" }, "valence −1 to +1") : null : el("span", { class: "quiet note" }, lock(), " withheld")));
      const lane = el("div", { class: "lane part", "data-p": person.id, role: "img", "aria-label": summary(person, of.get(person.id)) },
        el("div", { class: "eps" }), el("div", { class: "spans" }), keep ?? (waiting.includes(person) ? el("div", { class: "curve", style: { height: `${height}px` } }) : null));
      this.lanes.set(person.id, lane);
      middle.push(lane);
    }
    this.talk = null;
    const spoken = this.data.spoken = events.filter(e => e.kind === "utterance"), below = [], many = people.length > 3;
    if (faces?.childElementCount) below.push(el("div", { class: "who quiet" }, "Faces", el("span", {}, "at each change")), this.faces = faces);
    if (spoken.length) {
      this.talk = el("div", { class: "lane talk", style: { "--n": people.length }, role: "img", "aria-label": `Talk and silence: ${spoken.length} utterances` });
      below.push(el("div", { class: "who quiet" }, "Who speaks", people.length > 1 ? el("span", {}, many ? "rows as below" : "rows as above") : null), this.talk);
    }
    const rules = [...new Set(alerts.map(a => a.alert.rule))];
    if (alerts.length) below.push(el("div", { class: "who quiet rules" }, rules.map(r => el("span", { title: r }, `⚑ ${r}`))),
      el("div", { class: "lane flags", style: { "--rules": rules.length }, role: "img", "aria-label": alerts.map(a => `${a.alert.rule} from ${clock(a.alert.start_ms)}`).join("; ") },
        alerts.map(({ alert, acknowledged }) => el("i", { class: `fl ${alert.status} ${acknowledged ? "taken" : ""}`, "data-id": alert.evidence[0]?.event || null,
          title: `${alert.rule}: ${alert.condition}${alert.status === "open" ? ", open" : ""}${acknowledged ? `, taken by ${acknowledged.by}` : ""}`,
          style: { "--r": rules.indexOf(alert.rule), ...at(alert.start_ms, alert.end_ms ?? Math.max(alert.fired_ms, state.position_ms)) } }, el("span", {}, alert.condition)))));
    rows.push(...(many ? [...below, ...middle] : [...middle, ...below]));
    this.box.classList.toggle("many", many);
    this.box.replaceChildren(...rows, el("div", { class: "over", "aria-hidden": "true" }, this.sel, this.head));
    this.paint();
    this.show(...this.view);
  }
  // The contents of the rows around the view.
  paint() {
    const { people, of, metrics, spoken, state } = this.data, [from, to] = this.view, width = this.ruler.clientWidth || 1000, pixel = (to - from) / width * 1000;
    const range = this.painted = this.data.events.length <= MOST ? EVERYTHING : [from - (to - from) / 2, to + (to - from) / 2];
    this.spans.clear();
    for (const person of people) {
      const mine = within(of.get(person.id), range), lane = this.lanes.get(person.id), dense = mine.length > MOST;
      const shown = this.data.episodes.get(person.id).filter(e => e.end / 1000 >= range[0] && e.start / 1000 <= range[1] && (!dense || e.end - e.start > 4 * pixel));
      lane.querySelector(".eps").replaceChildren(...(of.get(person.id).length ? [] : [el("span", { class: "quiet" }, state.state === "live" ? "nothing yet" : "nothing")]),
        ...shown.map(e => el("i", { class: `ep ${kind(e.state)}`, style: { ...colour(e.state), ...at(e.start, e.end) } },
        el("span", {}, e.state === "withheld" ? [lock(), ` withheld: ${person.reason || "policy"}`] : e.state, e.count > 1 && e.state !== "withheld" ? el("small", {}, ` ×${e.count}`) : null))));
      lane.querySelector(".spans").replaceChildren(...(dense
        ? cells(mine, range[0] * 1000, range[1] * 1000, Math.round(width)).map(c => el("i", { class: `sp cell ${kind(c.state)}`, style: { ...colour(c.state), ...at(c.start, c.end) } }))
        : mine.map(e => this.#span(e))));
    }
    if (this.talk) {
      const order = new Map(people.map((p, i) => [p.id, i])), last = new Map(), bars = [], cuts = new Map();
      for (const e of within(spoken, range)) { // those that touch on the screen are one bar
        const before = last.get(e.participant);
        if (range !== EVERYTHING && before && e.start_ms - before.end < 2 * pixel) { before.end = Math.max(before.end, e.end_ms); continue; }
        const bar = { r: order.get(e.participant), start: e.start_ms, end: e.end_ms };
        last.set(e.participant, bar);
        bars.push(bar);
      }
      for (const c of metrics.interruptions) if (c.at_ms / 1000 >= range[0] && c.at_ms / 1000 <= range[1]) cuts.set(range === EVERYTHING ? cuts.size : `${c.by} ${Math.floor(c.at_ms / pixel / 6)}`, c);
      this.talk.replaceChildren(...metrics.non_talk.filter(g => g.end_ms / 1000 >= range[0] && g.start_ms / 1000 <= range[1] && g.end_ms - g.start_ms >= pixel).map(g => el("i", { class: "gap", style: at(g.start_ms, g.end_ms) })),
        ...bars.map(b => el("i", { class: "tk", style: { "--r": b.r, ...at(b.start, b.end) } })),
        ...[...cuts.values()].map(c => el("i", { class: `cut ${c.outcome}`, title: `${c.by} interrupts ${c.of} at ${clock(c.at_ms)} (${c.outcome})`, style: { "--r": order.get(c.by), ...at(c.at_ms, c.at_ms) } })));
    }
    this.soften(this.soft);
    if (this.chosen) this.select(this.chosen);
  }
  #span(e) {
    const s = stateOf(e), k = e.confidence !== null && !kind(s) ? { "--k": e.confidence.toFixed(2) } : {};
    const node = el("i", { class: `sp ${kind(s)} ${e.kind === "face" ? "seen" : ""} ${poor(e).length ? "poor" : ""}`, "data-id": e.id, style: { ...colour(s), ...at(e.start_ms, e.end_ms), ...k } });
    this.spans.set(e.id, node);
    return node;
  }
  // What is still being said: provisional spans, replaced with every hypothesis and gone with the final event.
  soften(partials) {
    this.soft = partials;
    for (const old of this.box.querySelectorAll(".soft")) old.remove();
    const order = new Map(this.data?.people.map((p, i) => [p.id, i]));
    for (const e of partials) {
      const lane = this.lanes.get(e.participant), state = stateOf(e), place = at(e.start_ms, e.end_ms);
      if (!lane?.isConnected) continue;
      lane.querySelector(".spans").append(el("i", { class: "sp soft", style: { ...colour(state), ...place } }));
      this.talk?.append(el("i", { class: "tk soft", style: { "--r": order.get(e.participant), ...place } }));
    }
  }
  legend(events) {
    const states = new Set(events.map(stateOf));
    if (!events.length) return [];
    const item = (key, text, style = {}) => el("li", {}, el("i", { class: `key ${key}`, style }), text), { metrics, alerts } = this.data;
    return [...LABELS.filter(l => states.has(l) && l !== "unknown").map(l => item("", l, colour(l))),
      states.has("unknown") ? item("hatch", "unknown: the system abstains", { "--c": "var(--unknown)" }) : null,
      states.has("withheld") ? item("out", "withheld by policy", { "--c": "var(--withheld)" }) : null,
      ...(events.some(e => e.valence !== null) ? [item("fade", "paler: less confident"), item("line", "valence, its band wider where less confident"), item("dots", "arousal")] : []),
      events.some(e => poor(e).length) ? item("bad", "poor picture or sound") : null,
      this.data.state.state === "live" ? item("soft", "still being said: provisional") : null,
      metrics.interruptions.length ? item("tri", "interruption") : null, metrics.non_talk.length ? item("gap", "nobody speaks") : null, alerts.length ? item("flag", "alert") : null].filter(Boolean);
  }
  // A thin picture of the whole call with the part that is shown; it is dragged, clicked, or moved with the arrows.
  #strip() {
    const { people, of, whole } = this.data, [low, high] = whole;
    this.window = el("div", { class: "window", role: "slider", tabindex: 0, "aria-label": "Part of the call that is shown", "aria-valuemin": 0, "aria-valuemax": Math.round(high) });
    this.strip = el("div", { class: "lane strip", style: { "--t0": low, "--span": high - low, "--n": people.length } },
      people.flatMap((p, r) => cells(of.get(p.id), low * 1000, high * 1000, 300).map(c => el("i", { class: kind(c.state), style: { ...colour(c.state), "--r": r, ...at(c.start, c.end) } }))), this.window);
    const move = event => { const half = (this.view[1] - this.view[0]) / 2, t = this.timeOf(event, true) / 1000; this.onView(t - half); };
    this.strip.addEventListener("pointerdown", event => { if (event.button) return; event.preventDefault(); this.strip.setPointerCapture(event.pointerId); move(event); this.strip.onpointermove = move; });
    this.strip.addEventListener("lostpointercapture", () => { this.strip.onpointermove = null; });
    this.window.addEventListener("keydown", event => {
      const step = { ArrowLeft: -0.5, ArrowRight: 0.5, PageUp: -1, PageDown: 1, Home: -1e6, End: 1e6 }[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      this.onView(this.view[0] + step * (this.view[1] - this.view[0]));
    });
    return this.strip;
  }
  show(start, end) {
    const before = this.view;
    this.view = [start, end];
    this.box.style.setProperty("--t0", start);
    this.box.style.setProperty("--span", Math.max(end - start, 1));
    this.ruler.setAttribute("aria-valuemax", Math.round((this.data?.whole ?? this.view)[1]));
    if (this.data?.whole) {
      this.window.style.setProperty("--s", start);
      this.window.style.setProperty("--e", end);
      this.window.setAttribute("aria-valuenow", Math.max(0, Math.round(start)));
      this.window.setAttribute("aria-valuetext", `${clock(start * 1000)} to ${clock(end * 1000)}`);
    }
    const closer = (before[1] - before[0]) / (end - start);
    if (this.data && (start < this.painted[0] || end > this.painted[1] || (this.painted !== EVERYTHING && (closer > 1.01 || closer < 0.99)))) this.paint();
    this.ticks();
    this.thin();
  }
  ticks() {
    const [start, end] = this.view, width = this.ruler.clientWidth;
    if (!width) return;
    const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].find(s => (end - start) / s <= Math.max(2, width / 90)) ?? 7200;
    const marks = [];
    for (let t = Math.ceil(Math.max(start, 0) / step) * step; t <= end; t += step) marks.push(el("i", { class: "tick", style: { "--s": t, "--e": t } }, el("span", {}, clock(t * 1000))));
    this.ruler.replaceChildren(...marks);
  }
  thin() { // faces that would cover one another wait for a closer look; so does the word at a pin that the next one would cover
    const width = this.ruler.clientWidth, x = node => (Number(node.style.getPropertyValue("--s")) - this.view[0]) / (this.view[1] - this.view[0]) * width;
    let edge = -Infinity;
    for (const face of this.faces?.isConnected ? this.faces.children : []) {
      const left = x(face), free = left >= edge && left <= width - 20;
      face.classList.toggle("hid", !free);
      if (free) edge = left + 48;
    }
    const pins = [...this.box.querySelectorAll(".pin")], places = pins.map(x);
    pins.forEach((pin, i) => pin.classList.toggle("hid", (places[i + 1] ?? width) - places[i] < (this.several ? 126 : 78)));
  }
  select(event) {
    this.chosen = event;
    this.on?.classList.remove("on");
    this.on = event ? this.spans.get(event.id) : null;
    this.on?.classList.add("on");
    this.sel.style.setProperty("--at", event ? event.start_ms / 1000 : -99);
    this.sel.style.setProperty("--len", event ? (event.end_ms - event.start_ms) / 1000 : 0);
  }
  place(ms, text) {
    this.head.style.setProperty("--at", ms / 1000);
    this.ruler.setAttribute("aria-valuenow", Math.round(ms / 1000));
    this.ruler.setAttribute("aria-valuetext", text);
  }
}
