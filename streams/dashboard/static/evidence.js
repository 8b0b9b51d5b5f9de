// Evidence of one moment, in sentences.
import { chip, clock, colour, el, name, percent, signed, stateOf } from "/static/dom.js";
import { face } from "/static/face.js";

const MODALITY = { speech: "voice", text: "words", face: "face", scene: "scene", music: "music" };
const bars = items => el("div", { class: "bars" }, items.flatMap(([title, share, style, note]) => note
  ? [el("span", {}, title), el("span", { class: "off" }, note)]
  : [el("span", {}, title), el("span", { class: "b" }, el("i", { style: { width: `${Math.max(0, Math.min(1, share)) * 100}%`, ...style } })), el("span", { class: "n" }, percent(share))]));

// What was poor about the picture or the sound of a moment, in words.
export const poor = event => Object.entries(event.modalities ?? {}).flatMap(([m, use]) => {
  const bad = use.present ? use.quality < 0.5 || Boolean(use.reason) : /not usable/.test(use.reason ?? "");
  if (!bad) return [];
  const why = (use.reason ?? "").match(/not usable \(([^)]+)\)/)?.[1] ?? (use.present && use.reason ? use.reason : "");
  return [`${MODALITY[m] ?? m}: ${use.present ? `poor quality, ${use.quality.toFixed(2)} of 1` : "not usable"}${why ? ` (${why})` : ""}`];
});

// `turned`: the label that the participant turned from here; `crop`: the face of this moment, or null.
export const evidence = (event, person, { turned = null, crop = null } = {}) => {
  const state = stateOf(event), kind = { face: "face while silent", music: "music", conversation: "conversation" }[event.kind];
  const parts = [
    el("p", { class: "when" }, `${clock(event.start_ms)} to ${clock(event.end_ms)} · ${name(event.participant)}${kind ? ` · ${kind}` : ""}${event.status === "partial" ? " · still being said, provisional" : ""}`),
    el("p", { class: "what" }, chip(state), event.compound ?? "", turned ? el("small", {}, `turned from ${turned}`) : null),
  ];
  if (crop) parts.unshift(el("img", { class: "crop", src: crop.image, width: 72, height: 72, alt: `Face of ${event.participant} at ${clock(crop.at_ms)}` }));
  if (event.transcript?.text) parts.push(el("blockquote", { dir: "auto", lang: event.transcript.language || null }, event.transcript.text));
  if (state === "withheld") {
    parts.push(el("p", {}, `No emotion is inferred here: ${event.policy?.reason || person?.reason || "policy forbids it"}. Words and conversation figures are not affected.`));
    if (event.policy?.decision === "observables") parts.push(el("p", { dir: "auto" }, event.explanation), ...face(event));
    return parts;
  }
  if (state === "unknown") parts.push(el("p", {}, "The system abstains: no label is likely enough to be stated."));
  const used = Object.entries(event.modalities).map(([m, use]) => [MODALITY[m] ?? m, use.weight, { "--c": "var(--quiet)" }, use.present ? "" : use.reason || "not in this moment"]);
  if (used.length) parts.push(el("h3", {}, "Share of each modality in the decision"), bars(used));
  const bad = poor(event);
  if (bad.length) parts.push(el("ul", { class: "poorlist", "aria-label": "Poor picture or sound" }, bad.map(text => el("li", {}, el("span", { "aria-hidden": "true" }, "△ "), text))));
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
