// Search over what is kept; the address keeps the question.
import { $, callHref, chip, clock, el, get, LABELS, name, stateOf, title } from "/static/dom.js";
import { announce, follow, keys, recount } from "/static/shell.js";

const form = $("find");
form.elements.label.append(...LABELS.map(l => el("option", {}, l)));
// The words that were asked for, marked in what was said.
const marked = (text, words) => {
  const found = words.toLowerCase().split(/\s+/).filter(Boolean).map(w => w.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return found.length ? text.split(new RegExp(`(${found.join("|")})`, "i")).map((part, i) => i % 2 ? el("mark", {}, part) : part) : [text];
};
const STARTS = [["label=anger&role=customer", "Anger of customers"], ["label=happiness&role=customer", "Happiness of customers"], ["label=unknown", "Where the system abstained"], ["role=employee", "What employees said"]];
const ask = async () => {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  if (!query.size) {
    $("story").textContent = "Ask for words, a label, a role or a call, or begin with one of these:";
    $("hits").replaceChildren(...STARTS.map(([asked, text]) => el("li", {}, el("a", { class: "hit start", href: `/search?${asked}` }, text))));
    return;
  }
  try {
    const found = await get(`/v1/search?${query}`);
    $("story").textContent = found.total ? `${found.total} moment${found.total === 1 ? "" : "s"}${found.total > found.hits.length ? `, the first ${found.hits.length}` : ""}` : "Nothing matches all of this; leave one out.";
    $("hits").replaceChildren(...found.hits.map(({ session, media, event }) => el("li", {}, el("a", { class: "hit", href: callHref(session, `#t=${event.start_ms / 1000}&e=${event.id}`) },
      el("span", { class: "quiet" }, `${title(session, media)} · ${clock(event.start_ms)}`), el("b", {}, name(event.participant)), chip(stateOf(event)),
      el("span", { class: "said", dir: "auto" }, marked(event.transcript?.text || event.explanation || "no words", query.get("q") ?? ""))))));
  } catch (error) { $("story").textContent = error.message; $("hits").replaceChildren(); }
};
for (const [key, value] of new URLSearchParams(location.search)) if (form.elements[key]) form.elements[key].value = value;
form.addEventListener("submit", event => { event.preventDefault(); ask(); });
const step = by => {
  const all = [...document.querySelectorAll(".hit")], at = all.indexOf(document.activeElement);
  all[Math.max(0, Math.min(all.length - 1, at + by))]?.focus();
};
keys({ j: () => step(1), k: () => step(-1), a: () => { location.href = "/alerts"; } });
await ask();
follow(null, { type: "alert" }, message => { announce(message); if (message.type === "alert") recount().catch(() => {}); });
recount().catch(() => {});
