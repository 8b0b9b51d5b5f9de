// One time axis for everything: participants as rows, labels as spans, talk and silence, alerts as flags.
import { chip, clock, colour, el, LABELS, lock, name, stateOf } from "/static/dom.js";

const GAP_MS = 45000;
export const episodes = events => {
  const found = [];
  for (const e of events) {
    const state = stateOf(e), last = found.at(-1);
    if (last && last.state === state && e.start_ms - last.end <= GAP_MS) { last.end = Math.max(last.end, e.end_ms); last.count++; }
    else found.push({ state, start: e.start_ms, end: e.end_ms, count: 1 });
  }
  return found;
};
const at = (start, end) => ({ "--s": start / 1000, "--e": end / 1000 });
const kind = state => (state === "unknown" ? "hatch" : state === "withheld" ? "out" : "");
export const summary = (person, mine) => {
  if (!mine.length) return `${person.id}: nothing was said or seen yet`;
  if (!person.analysed) return `${person.id}: ${mine.length} events, emotion withheld (${person.reason || "policy"})`;
  const parts = episodes(mine).map(e => `${e.state} ${clock(e.start)} to ${clock(e.end)}`);
  return `${person.id}: ${parts.slice(-12).join("; ")}`;
};

export class Axis {
  constructor(box, { onSelect, onSeek, charts = true }) {
    Object.assign(this, { box, onSelect, onSeek, charts, view: [0, 60], lanes: new Map(), spans: new Map(), curve: new Map() });
    this.ruler = el("div", { class: "lane ruler", role: "slider", tabindex: 0, "aria-label": "Position in the call", "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0, "aria-valuetext": "0:00" });
    this.sel = el("div", { class: "sel" });
    this.head = el("div", { class: "head" });
    box.addEventListener("click", event => {
      const span = event.target.closest("[data-id]"), lane = event.target.closest(".lane");
      if (span) return onSelect(span.dataset.id);
      if (lane) onSeek(this.timeOf(event), lane.dataset.p);
    });
    new ResizeObserver(() => this.ticks()).observe(box);
  }
  timeOf(event) {
    const r = this.ruler.getBoundingClientRect();
    return (this.view[0] + (event.clientX - r.left) / r.width * (this.view[1] - this.view[0])) * 1000;
  }
  // Everything anew: some hundred spans, drawn at most a few times a second.
  draw(state, events, alerts, metrics) {
    const people = state.participants;
    this.spans.clear();
    const rows = [el("div", { class: "who quiet" }, el("span", { class: "vh" }, "Time")), this.ruler];
    for (const person of people) {
      const mine = events.filter(e => e.participant === person.id);
      const keep = this.curve.get(person.id);
      rows.push(el("div", { class: "who" }, el("b", {}, name(person.id)), person.role !== person.id ? el("span", { class: "quiet" }, person.role) : null,
        person.analysed ? keep ? el("span", { class: "quiet scale" }, "valence −1 to +1") : null : el("span", { class: "quiet note" }, lock(), " withheld")));
      const lane = el("div", { class: "lane part", "data-p": person.id, role: "img", "aria-label": summary(person, mine) },
        el("div", { class: "eps" }, episodes(mine).map(e => el("i", { class: `ep ${kind(e.state)}`, style: { ...colour(e.state), ...at(e.start, e.end) } },
          el("span", {}, e.state === "withheld" ? [lock(), ` withheld: ${person.reason || "policy"}`] : e.state, e.count > 1 && e.state !== "withheld" ? el("small", {}, ` ×${e.count}`) : null)))),
        el("div", { class: "spans" }, mine.map(e => {
          const s = stateOf(e), k = e.confidence !== null && !kind(s) ? { "--k": e.confidence.toFixed(2) } : {};
          const node = el("i", { class: `sp ${kind(s)} ${e.kind === "face" ? "seen" : ""}`, "data-id": e.id, style: { ...colour(s), ...at(e.start_ms, e.end_ms), ...k } });
          this.spans.set(e.id, node);
          return node;
        })), keep ?? null);
      this.lanes.set(person.id, lane);
      rows.push(lane);
    }
    const spoken = events.filter(e => e.kind === "utterance"), order = new Map(people.map((p, i) => [p.id, i]));
    if (spoken.length) rows.push(el("div", { class: "who quiet" }, "Who speaks", people.length > 1 ? el("span", {}, "rows as above") : null),
      el("div", { class: "lane talk", style: { "--n": people.length }, role: "img", "aria-label": `Talk and silence: ${spoken.length} utterances` },
        metrics.non_talk.map(g => el("i", { class: "gap", style: at(g.start_ms, g.end_ms) })),
        spoken.map(e => el("i", { class: "tk", style: { "--r": order.get(e.participant), ...at(e.start_ms, e.end_ms) } })),
        metrics.interruptions.map(c => el("i", { class: `cut ${c.outcome}`, title: `${c.by} interrupts ${c.of} at ${clock(c.at_ms)} (${c.outcome})`, style: { "--r": order.get(c.by), ...at(c.at_ms, c.at_ms) } }))));
    const rules = [...new Set(alerts.map(a => a.alert.rule))];
    if (alerts.length) rows.push(el("div", { class: "who quiet rules" }, rules.map(r => el("span", { title: r }, `⚑ ${r}`))),
      el("div", { class: "lane flags", style: { "--rules": rules.length }, role: "img", "aria-label": alerts.map(a => `${a.alert.rule} from ${clock(a.alert.start_ms)}`).join("; ") },
        alerts.map(({ alert, acknowledged }) => el("i", { class: `fl ${alert.status} ${acknowledged ? "taken" : ""}`, title: `${alert.rule}: ${alert.condition}`, style: { "--r": rules.indexOf(alert.rule), ...at(alert.start_ms, alert.end_ms ?? Math.max(alert.fired_ms, state.position_ms)) } }, el("span", {}, alert.condition)))));
    this.box.classList.toggle("many", people.length > 3);
    this.box.replaceChildren(...rows, el("div", { class: "over", "aria-hidden": "true" }, this.sel, this.head));
    this.show(...this.view);
  }
  legend(events) {
    const states = new Set(events.map(stateOf));
    const item = (key, text, style = {}) => el("li", {}, el("i", { class: `key ${key}`, style }), text);
    return [...LABELS.filter(l => states.has(l) && l !== "unknown").map(l => item("", l, colour(l))),
      states.has("unknown") ? item("hatch", "unknown: the system abstains", { "--c": "var(--unknown)" }) : null,
      states.has("withheld") ? item("out", "withheld by policy", { "--c": "var(--withheld)" }) : null,
      item("fade", "paler: less confident"), item("line", "valence, its band wider where less confident"), item("dots", "arousal"), item("tri", "interruption")].filter(Boolean);
  }
  show(start, end) {
    this.view = [start, end];
    this.box.style.setProperty("--t0", start);
    this.box.style.setProperty("--span", Math.max(end - start, 1));
    this.ruler.setAttribute("aria-valuemax", Math.round(end));
    this.ticks();
  }
  ticks() {
    const [start, end] = this.view, width = this.ruler.clientWidth;
    if (!width) return;
    const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].find(s => (end - start) / s <= Math.max(2, width / 90)) ?? 7200;
    const marks = [];
    for (let t = Math.ceil(Math.max(start, 0) / step) * step; t <= end; t += step) marks.push(el("i", { class: "tick", style: { "--s": t, "--e": t } }, el("span", {}, clock(t * 1000))));
    this.ruler.replaceChildren(...marks);
  }
  select(event) {
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
