// Action units of a moment on a schematic of the face: where each acts and how strong (0 to 5), with bars in words.
import { el } from "/static/dom.js";

// [where it acts on a 200 × 220 face (mirrored where `pair`), name]
const UNITS = {
  AU1: [[82, 62], true, "inner brow raiser"], AU2: [[52, 60], true, "outer brow raiser"], AU4: [[88, 80], true, "brow lowerer"],
  AU5: [[66, 84], true, "upper lid raiser"], AU6: [[58, 122], true, "cheek raiser"], AU7: [[64, 104], true, "lid tightener"],
  AU9: [[89, 108], true, "nose wrinkler"], AU10: [[86, 144], true, "upper lip raiser"], AU12: [[56, 152], true, "lip corner puller"],
  AU14: [[58, 166], true, "dimpler"], AU15: [[64, 182], true, "lip corner depressor"], AU17: [[100, 196], false, "chin raiser"],
  AU18: [[100, 152], false, "lip pucker"], AU20: [[50, 170], true, "lip stretcher"], AU23: [[82, 168], true, "lip tightener"],
  AU24: [[100, 166], false, "lip pressor"], AU25: [[100, 172], false, "lips part"], AU26: [[100, 184], false, "jaw drop"],
  AU28: [[88, 174], true, "lip suck"], AU43: [[62, 94], true, "eyes closed"], AU45: [[70, 94], true, "blink"],
};
export const unitsOf = event => Object.entries(event.observables ?? {}).filter(([key]) => key in UNITS).map(([key, value]) => [key, value, UNITS[key]]).sort((a, b) => b[1] - a[1]);
const shape = (d, extra = {}) => el("path", { svg: 1, d, class: "outline", ...extra });
export const face = event => {
  const units = unitsOf(event);
  if (!units.length) return [];
  const shown = units.filter(([, value]) => value >= 0.5).slice(0, 8);
  const dots = shown.flatMap(([key, value, [[x, y], pair]]) => (pair ? [x, 200 - x] : [x]).flatMap(cx => [
    el("circle", { svg: 1, class: "au", cx, cy: y, r: (3 + value * 1.7).toFixed(1), "fill-opacity": (0.25 + value / 5 * 0.6).toFixed(2) })]));
  const picture = el("svg", { class: "face", viewBox: "20 14 160 206", width: 150, height: 193, role: "img",
    "aria-label": shown.length ? `Face: ${shown.map(([key, value, [, , what]]) => `${what} ${value.toFixed(1)} of 5`).join(", ")}` : "Face at rest" },
    shape("M36 92c0-44 28-70 64-70s64 26 64 70c0 62-30 118-64 118S36 154 36 92z"),
    shape("M46 78q18-14 40-4M154 78q-18-14-40-4"), shape("M50 94q16-13 32 0q-16 11-32 0zM150 94q-16-13-32 0q16 11 32 0z"),
    shape("M96 96l-8 36q12 8 24 0l-8-36"), shape("M68 166q16-9 32-5q16-4 32 5q-16 13-32 13t-32-13zM68 166h64"), ...dots);
  return [el("h3", {}, "Action units, mean of the moment, 0 to 5"), el("div", { class: "facebox" }, picture,
    el("div", { class: "bars" }, units.slice(0, 8).flatMap(([key, value, [, , what]]) => [el("span", { title: what }, key, el("small", {}, ` ${what}`)),
      el("span", { class: "b" }, el("i", { style: { width: `${value / 5 * 100}%`, "--c": "var(--select)" } })), el("span", { class: "n" }, value.toFixed(1))])))];
};
