// Figures of the conversation: numbers with their unit and their count.
import { clock, el, name, percent, signed } from "/static/dom.js";

const minus = text => text.replace("-", "−");
const cell = (v, n, unit = "") => v === null || v === undefined ? "none · 0" : `${v}${unit} · ${n}`;
const ROWS = [
  ["Talk time", "voice activity", p => clock(p.talk_ms)], ["Share of talk", "of all talk time", p => p.talk_ratio === null ? "none" : percent(p.talk_ratio)],
  ["Utterances", "in turns", p => `${p.utterances} in ${p.turns}`], ["Talk speed", "words a minute · utterances", p => cell(p.words_per_min === null ? null : Math.round(p.words_per_min), p.worded_utterances)],
  ["Loudness", "LUFS · utterances", p => cell(p.loudness_lufs === null ? null : minus(p.loudness_lufs.toFixed(1)), p.loudness_count)],
  ["Answers after", "median · answers", p => cell(p.response.median_ms === null ? null : minus((p.response.median_ms / 1000).toFixed(1)), p.response.count, " s")],
  ["Interrupts", "and attempts", p => `${p.interruptions_made} and ${p.interruption_attempts}`],
  ["Valence by quarter", "mean · utterances", p => p.valence === null ? "withheld" : p.valence.quarters.map(q => `${signed(q.valence)} · ${q.count}`).join("  |  ")],
  ["Valence trend", "a minute · utterances", p => p.valence === null ? "withheld" : p.valence.trend.slope_per_min === null ? "too few utterances" : `${signed(p.valence.trend.slope_per_min)} · ${p.valence.trend.count}`],
];
export const figures = m => {
  const people = m.participants;
  if (!people.length) return [el("p", { class: "empty" }, "Nobody spoke yet, so there is nothing to count.")];
  const made = m.interruptions.filter(i => i.outcome === "success").length;
  const facts = [["Somebody speaks", clock(m.talk_ms)], ["Nobody speaks, 3 s or longer", m.non_talk.length ? `${clock(m.non_talk_ms)} · ${m.non_talk.length}` : "never"],
    ["Several speak at once", m.overlaps.length ? `${(m.overlap_ms / 1000).toFixed(1)} s · ${m.overlaps.length}` : "never"], ["Interruptions", `${made} · ${m.interruptions.length - made} attempts`]];
  return [el("dl", { class: "facts" }, facts.map(([t, v]) => el("div", {}, el("dt", {}, t), el("dd", {}, v)))),
    el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Figures by participant" }, el("table", {},
      el("thead", {}, el("tr", {}, el("td"), people.map(p => el("th", { scope: "col" }, name(p.participant))))),
      el("tbody", {}, ROWS.map(([t, x, v]) => el("tr", {}, el("th", { scope: "row" }, t, el("small", {}, ` ${x}`)), people.map(p => el("td", {}, v(p))))))))];
};
