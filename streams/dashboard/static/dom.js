// Small pieces that every page uses. Every text goes into the page as a text node; styles are set as properties.
export const $ = id => document.getElementById(id);
export const el = (tag, attributes = {}, ...children) => {
  const node = tag === "svg" || attributes?.svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false || key === "svg") continue;
    if (key === "style") for (const [name, text] of Object.entries(value)) node.style.setProperty(name, text);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter(child => child !== null && child !== undefined && child !== "" && child !== false));
  return node;
};
// Makes `children` the content of `box` and leaves what is the same alone, so that nothing flickers and focus stays.
export const put = (box, ...children) => {
  const wanted = children.flat(9).filter(child => child !== null && child !== undefined && child !== "" && child !== false).map(child => typeof child === "string" ? document.createTextNode(child) : child);
  wanted.forEach((node, i) => {
    const old = box.childNodes[i];
    if (!old) box.append(node); else if (!old.isEqualNode(node)) old.replaceWith(node);
  });
  while (box.childNodes.length > wanted.length) box.lastChild.remove();
};
const two = n => String(n).padStart(2, "0");
export const clock = ms => {
  const s = Math.max(0, Math.floor(ms / 1000));
  return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
};
export const signed = v => v === null || v === undefined ? "none" : (v > 0.004 ? "+" : v < -0.004 ? "−" : "") + Math.abs(v).toFixed(2);
export const percent = v => `${Math.round(v * 100)} %`;
export const name = id => id ? id[0].toUpperCase() + id.slice(1) : "";
export const LABELS = ["anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "unknown"];
const known = new Set([...LABELS, "withheld"]);
export const colour = state => ({ "--c": `var(--${known.has(state) ? state : "other"})` });
export const stateOf = e => e.status === "withheld" || e.label === null ? "withheld" : e.label;
export const lock = () => el("svg", { class: "lock", viewBox: "0 0 12 14", width: 10, height: 12, "aria-hidden": "true" },
  el("path", { svg: 1, d: "M2 6V4a4 4 0 0 1 8 0v2h1v8H1V6zm2 0h4V4a2 2 0 0 0-4 0z", fill: "currentColor" }));
export const chip = (state, text = state) =>
  el("span", { class: `state ${state === "unknown" ? "hatch" : state === "withheld" ? "out" : ""}`, style: colour(state) }, state === "withheld" ? lock() : null, text);
// How far the analysis of a live call is behind, in words; null where it keeps up. While somebody speaks it grows to the length
// of what is being said, so only more than that is told. `elapsed`: ms since the state was read.
export const late = (state, elapsed) => {
  if (state.state !== "live" || typeof state.behind_ms !== "number") return null;
  const behind = state.behind_ms + Math.max(0, elapsed);
  if (behind < 30000 && (state.delay_ms ?? 0) < 3000) return null;
  const seconds = Math.round(Math.max(behind, state.delay_ms ?? 0) / 1000), told = seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  return el("span", { class: "late", title: `Analysed up to ${clock(state.position_ms)}; the media there arrived ${told} ago.` },
    el("svg", { viewBox: "0 0 12 14", width: 10, height: 12, "aria-hidden": "true" }, el("path", { svg: 1, d: "M1 1h10v2L7.5 7 11 11v2H1v-2l3.5-4L1 3z", fill: "none", stroke: "currentColor", "stroke-width": 1.4 })), `${told} behind`);
};
// What a call is called: its recording, or the beginning of its id where it came in live.
export const title = (session, media) => /\.[a-z0-9]{2,5}$/i.test(media ?? "") ? media : session.length > 20 ? `${session.slice(0, 8)}…` : session;
export const via = media => media && media !== "live" && !/\.[a-z0-9]{2,5}$/i.test(media) ? `by ${media}` : null;
export const callHref = (session, hash = "") => `/calls/${encodeURIComponent(session)}${hash}`;
export const say = text => { $("said").textContent = text; };
export const when = (ms, short = false) => new Date(ms).toLocaleString(undefined, short ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" } : { dateStyle: "medium", timeStyle: "short" });
export const get = async path => {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (answer.status === 401) { location.reload(); throw new Error("signed out"); }
  const body = await answer.json();
  if (!answer.ok) throw new Refused(body.error, body.cure);
  return body;
};
export class Refused extends Error {
  constructor(error, cure) { super(cure ? `${error}: ${cure}` : error); this.refused = true; }
}
// Valence over the call, −1 to +1, with its band; pictures say their numbers in words too.
export const spark = (points, { width = 150, height = 46 } = {}) => {
  if (!points.length) return el("span", { class: "quiet" }, "no valence yet");
  const first = points[0].at_ms, span = Math.max(points.at(-1).at_ms - first, 1);
  const x = p => (3 + (p.at_ms - first) / span * (width - 8)).toFixed(1), y = v => (height / 2 - v * (height / 2 - 3)).toFixed(1);
  const doubt = p => 0.5 * (1 - p.confidence), last = points.at(-1);
  const band = [...points.map(p => `${x(p)},${y(Math.min(1, p.valence + doubt(p)))}`), ...points.toReversed().map(p => `${x(p)},${y(Math.max(-1, p.valence - doubt(p)))}`)].join(" ");
  return el("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": `valence from ${signed(points[0].valence)} to ${signed(last.valence)}, lowest ${signed(Math.min(...points.map(p => p.valence)))}` },
    el("line", { svg: 1, class: "zero", x1: 0, x2: width, y1: height / 2, y2: height / 2 }),
    el("polygon", { svg: 1, class: "band", points: band }),
    el("polyline", { svg: 1, class: "run", points: points.map(p => `${x(p)},${y(p.valence)}`).join(" ") }),
    el("circle", { svg: 1, class: last.valence < 0 ? "low" : "high", cx: x(last), cy: y(last.valence), r: 3 }));
};
