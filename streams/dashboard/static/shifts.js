// Turns of expression and what preceded them, closest first. What preceded is not said to be the cause.
import { chip, clock, el, name, signed } from "/static/dom.js";

const KINDS = 5, FIRST = 12;
const before = ms => ms ? `${(ms / 1000).toFixed(1)} s before` : "up to the turn";
const side = phase => `${signed(phase.valence)} · ${phase.count} event${phase.count === 1 ? "" : "s"}`;
export const turnTitle = s => `${name(s.participant)} turned from ${s.before.label} to ${s.after.label} at ${clock(s.at_ms)}`;
// What an event turned from, by id of the first event of each turn.
export const turnsOf = shifts => new Map(shifts.map(s => [s.event, s.before.label]));
let all = false; // of a long call the first ones, until the rest is asked for
export const shiftList = (shifts, find, onSelect, windowMs, again) => {
  const link = (id, ...text) => find(id) ? el("a", { class: "plain", href: `#e=${id}`, onclick: event => { event.preventDefault(); onSelect(id); } }, text) : el("span", {}, text);
  const more = all ? 0 : shifts.length - FIRST;
  const cards = (more > 0 ? shifts.slice(0, FIRST) : shifts).map(s => el("li", { class: "turncard" },
    el("button", { type: "button", class: "turned", "data-id": s.event, onclick: () => onSelect(s.event) }, el("span", { class: "time" }, clock(s.at_ms)), el("b", {}, name(s.participant)),
      chip(s.before.label), el("span", { "aria-hidden": "true" }, "→"), el("span", { class: "vh" }, " turned to "), chip(s.after.label)),
    el("small", { class: "quiet" }, `valence ${side(s.before)}, then ${side(s.after)}`),
    s.preceded_by.length || s.last_words.length ? [
      el("p", { class: "cap" }, `Preceded, within ${Math.round(windowMs / 1000)} s, by`),
      el("ul", { class: "before" },
        s.preceded_by.slice(0, KINDS).map(a => el("li", {}, link(a.event, a.text), el("small", {}, ` ${before(a.before_ms)}`))),
        s.preceded_by.length > KINDS ? el("li", { class: "quiet" }, `and ${s.preceded_by.length - KINDS} more`) : null,
        s.last_words.filter(w => find(w.event)?.transcript?.text).map(w => el("li", {},
          `last words of ${w.participant}: `, link(w.event, el("q", { dir: "auto" }, find(w.event).transcript.text)), el("small", {}, ` ${before(w.before_ms)}`))))]
      : el("p", { class: "quiet" }, "Nothing that is measured stands out before it.")));
  return more > 0 ? [...cards, el("li", {}, el("button", { type: "button", onclick: () => { all = true; again(); } }, `Show the other ${more}`))] : cards;
};
