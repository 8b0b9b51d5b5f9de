// Evidence of one moment, in sentences.
import { chip, clock, colour, el, name, percent, signed, stateOf } from "/static/dom.js";
import { face } from "/static/face.js";

const MODALITY = { speech: "voice", text: "words", face: "face", scene: "scene", music: "music" };
const bars = items => el("div", { class: "bars" }, items.flatMap(([title, share, style, note]) => note
  ? [el("span", {}, title), el("span", { class: "off" }, note)]
  : [el("span", {}, title), el("span", { class: "b" }, el("i", { style: { width: `${Math.max(0, Math.min(1, share)) * 100}%`, ...style } })), el("span", { class: "n" }, percent(share))]));

export const evidence = (event, person) => {
  const state = stateOf(event), kind = { face: "face while silent", music: "music", conversation: "conversation" }[event.kind];
  const parts = [
    el("p", { class: "when" }, `${clock(event.start_ms)} to ${clock(event.end_ms)} · ${name(event.participant)}${kind ? ` · ${kind}` : ""}${event.status === "partial" ? " · provisional" : ""}`),
    el("p", { class: "what" }, chip(state), event.compound ?? "", event.context.shift && event.context.previous && event.context.previous !== "unknown" ? el("small", {}, `turned from ${event.context.previous}`) : null),
  ];
  if (event.transcript?.text) parts.push(el("blockquote", { dir: "auto", lang: event.transcript.language || null }, event.transcript.text));
  if (state === "withheld") {
    parts.push(el("p", {}, `No emotion is inferred here: ${event.policy?.reason || person?.reason || "policy forbids it"}. Words and conversation figures are not affected.`));
    if (event.policy?.decision === "observables") parts.push(el("p", { dir: "auto" }, event.explanation), ...face(event));
    return parts;
  }
  if (state === "unknown") parts.push(el("p", {}, "The system abstains: no label is likely enough to be stated."));
  const used = Object.entries(event.modalities).map(([m, use]) => [MODALITY[m] ?? m, use.weight, { "--c": "var(--quiet)" }, use.present ? "" : use.reason || "not in this moment"]);
  if (used.length) parts.push(el("h3", {}, "Share of each modality in the decision"), bars(used));
  const poor = Object.entries(event.modalities).filter(([, use]) => use.present && use.reason).map(([m, use]) => `${MODALITY[m] ?? m}: ${use.reason}`);
  if (poor.length) parts.push(el("p", { class: "quiet" }, poor.join("; ")));
  if (event.evidence.length) parts.push(el("h3", {}, "What it rests on"), el("ul", { class: "ev" }, event.evidence.map(e => el("li", {},
    el("span", { dir: "auto" }, el("b", {}, MODALITY[e.modality] ?? e.modality), ` ${e.supports ? "" : "(speaks against it) "}`, e.text), el("span", {}, percent(e.weight))))));
  else if (event.explanation) parts.push(el("p", { dir: "auto" }, event.explanation));
  const likely = Object.entries(event.probabilities).sort((a, b) => b[1] - a[1]).slice(0, 5);
  if (likely.length) parts.push(el("h3", {}, "Probability of each label"), bars(likely.map(([label, p]) => [label, p, colour(label), ""])));
  parts.push(...face(event));
  parts.push(el("h3", {}, "On the scales"), el("dl", { class: "nums" }, [["valence", signed(event.valence)], ["arousal", signed(event.arousal)],
    ["intensity", event.intensity === null ? "none" : event.intensity.toFixed(2)], ["confidence", event.confidence === null ? "none" : event.confidence.toFixed(2)]]
    .map(([title, value]) => el("div", {}, el("dt", {}, title), el("dd", {}, value)))));
  return parts;
};
