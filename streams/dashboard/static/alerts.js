// What fired, is it still so, what is the evidence, did someone take it?
import { $, callHref, clock, el, get, name, say, signed, when } from "/static/dom.js";
import { announce, count, first, follow, keys } from "/static/shell.js";

const SIGNED = /^(valence|arousal|dominance)/;
let alerts = [], current = null, due = 0;
const by = $("by"), items = new Map();
try { by.value = localStorage.getItem("by") ?? ""; } catch { /* no storage: the name is asked for again */ }
by.addEventListener("change", () => { try { localStorage.setItem("by", by.value); } catch { /* as above */ } });

const fault = text => { $("fault").textContent = text; $("fault").hidden = !text; };
const take = async id => {
  const entry = alerts.find(a => a.alert.id === id);
  if (!entry || entry.acknowledged) return;
  if (!by.value.trim()) { by.focus(); say("Write your name first, so that others see who took it."); by.classList.add("ask"); return; }
  let answer, body;
  try {
    answer = await fetch(`/v1/alerts/${encodeURIComponent(id)}/acknowledge`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ by: by.value }) });
    body = await answer.json();
  } catch { return fault("The server does not answer; the alert is not taken yet. Try again."); }
  fault(answer.ok ? "" : `Not taken: ${body.error}. ${body.cure}.`);
  say(answer.ok ? `${entry.alert.rule} taken by ${body.acknowledged.by}` : `${body.error}: ${body.cure}`);
  await read();
};
// One figure of the evidence as its rule means it: a count and a silence say themselves in the text.
const figure = (alert, cited) => /^(silence|interruptions)/.test(alert.condition) ? null : el("b", {}, `${alert.condition.split(" ")[0]} ${SIGNED.test(alert.condition) ? signed(cited.value) : cited.value.toFixed(2)}`);
const cited = alert => el("ul", { class: "cited" }, alert.evidence.map(c => el("li", {},
  el("a", { href: callHref(alert.session, `#t=${c.start_ms / 1000}&e=${c.event}`) }, `${clock(c.start_ms)} to ${clock(c.end_ms)}`), ` ${c.text} `, figure(alert, c))));
const fill = (li, { alert, acknowledged }) => {
  const isOpen = alert.status === "open", state = isOpen ? acknowledged ? "open, taken" : "open" : "closed", many = alert.evidence.length;
  const button = el("button", { type: "button", class: "take", onclick: () => take(alert.id) }, "Acknowledge", isOpen ? el("kbd", { "aria-hidden": "true" }, "A") : null);
  li.className = `alert ${alert.status} ${acknowledged ? "taken" : ""} ${alert.severity}`;
  li.replaceChildren(
    el("div", { class: "mark", "aria-hidden": "true" }, acknowledged ? "✓" : isOpen ? "!" : "–"),
    el("div", { class: "body" },
      el("h3", {}, el("a", { href: callHref(alert.session, `#t=${alert.start_ms / 1000}${alert.evidence[0]?.event ? `&e=${alert.evidence[0].event}` : ""}`) }, alert.rule), " ",
        el("span", { class: "tag" }, alert.severity), el("span", { class: "tag" }, state)),
      el("p", {}, el("b", {}, alert.participant ? name(alert.participant) : "Conversation"), ` in ${alert.session} · from ${clock(alert.start_ms)}${alert.end_ms === null ? "" : ` to ${clock(alert.end_ms)}`} · ${alert.condition}`),
      many ? isOpen ? cited(alert) : el("details", {}, el("summary", {}, `Evidence: ${many} moment${many === 1 ? "" : "s"}`), cited(alert)) : el("p", { class: "why", dir: "auto" }, alert.explanation),
      isOpen ? null : el("p", { class: "quiet" }, alert.explanation.match(/Closed at [^]*$/)?.[0] ?? "Closed."),
      acknowledged ? el("p", { class: "quiet" }, `Taken by ${acknowledged.by}, ${when(acknowledged.wall_ms)}`) : null),
    el("div", { class: "do" }, acknowledged ? null : button));
};
const render = () => {
  const open = alerts.filter(a => a.alert.status === "open"), free = open.filter(a => !a.acknowledged), focused = document.activeElement?.closest?.(".alert")?.dataset.id;
  count(free.length);
  const title = free.length ? `${free.length} open alert${free.length === 1 ? "" : "s"} nobody has taken` : open.length ? `${open.length} open, all taken` : alerts.length ? "Nothing is open" : "No alert has fired";
  if ($("story").textContent !== title) $("story").textContent = title;
  if (!alerts.length) {
    return $("inbox").replaceChildren(el("div", { class: "empty big" },
      el("p", {}, "Alerts come from rules: start with ", el("code", {}, "--rules RULES.yaml"), "."),
      el("p", { class: "quiet" }, "Try a rules file on a recording first: ", el("code", {}, "affectstream alerts test RULES.yaml results/CALL"), ".")));
  }
  const item = entry => {
    const li = items.get(entry.alert.id) ?? el("li", { "data-id": entry.alert.id, tabindex: -1 }), mark = JSON.stringify(entry);
    items.set(entry.alert.id, li);
    if (li.dataset.mark !== mark) { fill(li, entry); li.dataset.mark = mark; }
    return li;
  };
  const groups = [["Open", free], ["Open, taken", open.filter(a => a.acknowledged)], ["Closed", alerts.filter(a => a.alert.status !== "open")]].filter(([, of]) => of.length);
  $("inbox").replaceChildren(...groups.flatMap(([title, of]) => [el("h2", { class: "group" }, `${title} `, el("span", { class: "quiet" }, String(of.length))), el("ol", { class: "alerts", "aria-label": title }, of.map(item))]));
  if (focused) items.get(focused)?.focus({ preventScroll: true });
};
const read = async () => { const found = await get("/v1/alerts"); alerts = found.alerts; render(); return found; };
const soon = () => { due ||= setTimeout(() => { due = 0; read().catch(soon); }, 200); };
const here = () => document.activeElement?.closest?.(".alert")?.dataset.id;
const step = by => {
  const all = [...document.querySelectorAll(".alert")], at = all.indexOf(document.activeElement?.closest?.(".alert"));
  const to = all[Math.max(0, Math.min(all.length - 1, at + by))];
  to?.focus(); current = to?.dataset.id ?? null;
};
const found = await first(read);
follow(found.position, { type: "alert" }, message => { announce(message); if (message.type !== "heartbeat") soon(); });
keys({ j: () => step(1), k: () => step(-1), a: () => take(here() ?? current ?? alerts.find(a => a.alert.status === "open" && !a.acknowledged)?.alert.id),
  Enter: event => { const link = event.target.matches?.(".alert") && event.target.querySelector("h3 a"); if (!link) return false; link.click(); } });
