// What fired, is it still so, what is the evidence, did someone take it?
import { $, callHref, clock, el, get, name, say, signed, when } from "/static/dom.js";
import { announce, count, first, follow, keys } from "/static/shell.js";

const SIGNED = /^(valence|arousal|dominance)/;
let alerts = [], current = null, due = 0;
const by = $("by"), items = new Map();
try { by.value = localStorage.getItem("by") ?? ""; } catch { /* no storage: the name is asked for again */ }
by.addEventListener("change", () => { try { localStorage.setItem("by", by.value); } catch { /* as above */ } });

const take = async id => {
  const entry = alerts.find(a => a.alert.id === id);
  if (!entry || entry.acknowledged) return;
  if (!by.value.trim()) { by.focus(); say("Write your name first, so that others see who took it."); by.classList.add("ask"); return; }
  const answer = await fetch(`/v1/alerts/${encodeURIComponent(id)}/acknowledge`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ by: by.value }) });
  const body = await answer.json();
  say(answer.ok ? `${entry.alert.rule} taken by ${body.acknowledged.by}` : `${body.error}: ${body.cure}`);
  await read();
};
const fill = (li, { alert, acknowledged }) => {
  const state = alert.status === "open" ? acknowledged ? "open, taken" : "open" : "closed";
  const button = el("button", { type: "button", class: "take", onclick: () => take(alert.id) }, "Acknowledge ", el("kbd", { "aria-hidden": "true" }, "A"));
  li.className = `alert ${alert.status} ${acknowledged ? "taken" : ""} ${alert.severity}`;
  li.replaceChildren(
    el("div", { class: "mark", "aria-hidden": "true" }, acknowledged ? "✓" : alert.status === "open" ? "!" : "–"),
    el("div", { class: "body" },
      el("h3", {}, el("a", { href: callHref(alert.session, `#t=${alert.start_ms / 1000}${alert.evidence[0]?.event ? `&e=${alert.evidence[0].event}` : ""}`) }, alert.rule), " ", el("span", { class: "tag" }, alert.severity), el("span", { class: "tag" }, state)),
      el("p", {}, el("b", {}, alert.participant ? name(alert.participant) : "Conversation"), ` in ${alert.session} · from ${clock(alert.start_ms)}${alert.end_ms === null ? "" : ` to ${clock(alert.end_ms)}`} · ${alert.condition}`),
      alert.evidence.length ? null : el("p", { class: "why", dir: "auto" }, alert.explanation),
      alert.evidence.length ? el("ul", { class: "cited" }, alert.evidence.map(c => el("li", {}, el("a", { href: callHref(alert.session, `#t=${c.start_ms / 1000}&e=${c.event}`) }, `${clock(c.start_ms)} to ${clock(c.end_ms)}`), ` ${c.text} `, alert.condition.startsWith("silence") ? null : el("b", {}, `${alert.condition.split(" ")[0]} ${signed(c.value).replace("+", SIGNED.test(alert.condition) ? "+" : "")}`)))) : null,
      alert.status === "closed" ? el("p", { class: "quiet" }, alert.explanation.match(/Closed at [^]*$/)?.[0] ?? "Closed.") : null,
      acknowledged ? el("p", { class: "quiet" }, `Taken by ${acknowledged.by}, ${when(acknowledged.wall_ms)}`) : null),
    el("div", { class: "do" }, acknowledged ? null : button));
};
const render = () => {
  const open = alerts.filter(a => a.alert.status === "open"), free = open.filter(a => !a.acknowledged), focused = document.activeElement?.closest?.(".alert")?.dataset.id;
  count(free.length);
  const title = free.length ? `${free.length} open alert${free.length === 1 ? "" : "s"} nobody has taken` : open.length ? `${open.length} open, all taken` : alerts.length ? "Nothing is open" : "No alert has fired";
  if ($("story").textContent !== title) $("story").textContent = title;
  if (!alerts.length) return $("inbox").replaceChildren(el("div", { class: "empty big" }, el("p", {}, "Alerts come from rules: start with ", el("code", {}, "--rules RULES.yaml"), "."), el("p", { class: "quiet" }, "Try a rules file on a recording first: ", el("code", {}, "affectstream alerts test RULES.yaml results/CALL"), ".")));
  const list = $("list") ?? el("ol", { id: "list", class: "alerts" });
  list.replaceChildren(...alerts.map(entry => {
    const li = items.get(entry.alert.id) ?? el("li", { "data-id": entry.alert.id, tabindex: -1 });
    items.set(entry.alert.id, li);
    const mark = JSON.stringify(entry);
    if (li.dataset.mark !== mark) { fill(li, entry); li.dataset.mark = mark; }
    return li;
  }));
  if (!list.isConnected) $("inbox").replaceChildren(list);
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
