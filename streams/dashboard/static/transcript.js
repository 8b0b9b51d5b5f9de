// The transcript. Up to ALL rows are all in the page, so that the browser's own search finds every word; a longer one has only
// the rows near the window, so that a call of three hours costs what a short one does.
import { chip, clock, el, name, stateOf } from "/static/dom.js";

const ALL = 300, GUESS = 58, SPARE = 700;
const fill = (e, from) => {
  const state = stateOf(e), p = e.probabilities?.[e.label], words = e.transcript?.text?.trim(), open = e.status === "partial";
  const unsaid = e.kind === "face" ? `seen while silent, to ${clock(e.end_ms)}` : open ? "listening" : "nothing understood";
  const label = state === "withheld" ? "withheld" : open ? `so far ${state}` : `${state}${p === undefined ? "" : ` ${p.toFixed(2)}`}`;
  return [el("span", { class: "time" }, clock(e.start_ms)), el("span", { class: "name" }, name(e.participant)), open && state === "withheld" ? null : chip(state, label),
    from ? el("span", { class: "shift" }, `was ${from}`) : null,
    el("span", { class: "said", dir: "auto", lang: e.transcript?.language || null }, words ? open ? `${words} …` : words : el("em", {}, unsaid))].filter(Boolean);
};

export class Transcript {
  constructor(box, { onSelect, onPoint, onLeave }) {
    Object.assign(this, { box, items: [], index: new Map(), rows: new Map(), heights: new Map(), tops: new Float64Array(1), current: null, due: 0, turned: new Map() });
    this.empty = el("p", { class: "empty" });
    [this.above, this.below] = [0, 1].map(() => el("li", { class: "space", "aria-hidden": "true" })); // as high as the rows that are not in the page
    box.append(this.above, this.below);
    box.after(this.empty);
    box.addEventListener("click", event => { const b = event.target.closest(".turn"); if (b) onSelect(b.dataset.id); });
    box.addEventListener("pointerover", event => { const b = event.target.closest(".turn"); if (b && event.pointerType === "mouse") onPoint(b.dataset.id); });
    box.addEventListener("pointerleave", onLeave);
    box.addEventListener("scroll", () => { if (this.windowed) this.due ||= requestAnimationFrame(() => { this.due = 0; this.render(); }); }, { passive: true });
    new ResizeObserver(([entry]) => { if (this.windowed && entry.contentRect.width !== this.width) { this.width = entry.contentRect.width; this.heights.clear(); this.measure(); this.render(); } }).observe(box);
  }
  get windowed() { return this.items.length > ALL; }
  // `items` in the order of the media; `none`: what to say where there is nothing; `turned`: event id -> label it turned from.
  set(items, none, turned = this.turned) {
    Object.assign(this, { items, turned });
    this.index = new Map(items.map((e, i) => [e.id, i]));
    for (const [id, li] of this.rows) if (!this.index.has(id)) { li.remove(); this.rows.delete(id); }
    this.measure();
    this.render();
    this.box.hidden = !items.length;
    this.empty.hidden = items.length > 0;
    this.empty.textContent = none;
  }
  measure() {
    const n = this.items.length, tops = this.tops = new Float64Array(n + 1);
    for (let i = 0; i < n; i++) tops[i + 1] = tops[i] + (this.heights.get(this.items[i].id) ?? GUESS);
  }
  at(y) { // the row at a height
    let low = 0, high = this.items.length - 1;
    while (low < high) { const middle = (low + high + 1) >> 1; if (this.tops[middle] <= y) low = middle; else high = middle - 1; }
    return Math.max(low, 0);
  }
  render() {
    const { box, items, windowed } = this, n = items.length;
    box.classList.toggle("windowed", windowed);
    let from = 0, to = n;
    const top = box.scrollTop, anchor = windowed ? this.at(top) : 0, into = top - this.tops[anchor];
    if (windowed) { from = this.at(Math.max(0, top - SPARE)); to = Math.min(n, this.at(top + (box.clientHeight || 600) + SPARE) + 1); }
    const wanted = items.slice(from, to).map((e, i) => this.row(e, from + i));
    const keep = new Set(wanted);
    for (const [id, li] of this.rows) if (!keep.has(li)) { if (li.contains(document.activeElement)) box.focus({ preventScroll: true }); li.remove(); this.rows.delete(id); }
    wanted.forEach((li, i) => { if (box.children[i + 1] !== li) box.insertBefore(li, box.children[i + 1] ?? this.below); });
    if (!box.querySelector('[tabindex="0"]')) wanted[0]?.firstChild.setAttribute("tabindex", 0);
    this.#space(from, to);
    if (!windowed || !box.clientHeight) return;
    let moved = false;
    for (let i = from; i < to; i++) {
      const height = wanted[i - from].offsetHeight, id = items[i].id;
      if (height && height !== this.heights.get(id)) { moved ||= height !== (this.heights.get(id) ?? GUESS); this.heights.set(id, height); }
    }
    if (!moved) return;
    this.measure(); // the row that was at the top stays there
    this.#space(from, to);
    box.scrollTop = this.tops[anchor] + into;
  }
  #space(from, to) {
    const { tops } = this, last = tops.length - 1;
    for (const [li, height] of [[this.above, tops[from]], [this.below, tops[last] - tops[to]]]) {
      li.hidden = !this.windowed || height === 0;
      li.style.setProperty("height", `${height}px`);
    }
  }
  row(e, i) {
    let li = this.rows.get(e.id);
    const from = this.turned.get(e.id), mark = `${e.revision} ${e.status} ${from ?? ""}`;
    if (!li) { li = el("li", {}, el("button", { type: "button", class: "turn", tabindex: -1, "data-id": e.id })); this.rows.set(e.id, li); }
    const button = li.firstChild;
    if (li.dataset.mark !== mark) { li.dataset.mark = mark; button.replaceChildren(...fill(e, from)); button.classList.toggle("partial", e.status === "partial"); }
    if (this.windowed) { li.setAttribute("aria-setsize", this.items.length); li.setAttribute("aria-posinset", i + 1); }
    if (e.id === this.current) this.#mark(button);
    if (e.id === this.playing) button.classList.add("now");
    return li;
  }
  #mark(button) { button.setAttribute("aria-current", "true"); button.tabIndex = 0; }
  button(id) { return this.rows.get(id)?.firstChild; }
  select(id, { focus = false, reveal = true } = {}) {
    this.box.querySelector('[aria-current="true"]')?.removeAttribute("aria-current");
    for (const b of this.box.querySelectorAll('[tabindex="0"]')) b.tabIndex = -1;
    this.current = id;
    if (reveal) this.reveal(id);
    const button = this.button(id);
    if (!button) return;
    this.#mark(button);
    if (focus) button.focus({ preventScroll: true });
  }
  now(id) {
    this.button(this.playing)?.classList.remove("now");
    this.playing = id;
    this.button(id)?.classList.add("now");
  }
  reveal(id) {
    const { box } = this, i = this.index.get(id);
    if (i === undefined) return;
    if (this.windowed && !this.rows.has(id)) {
      box.scrollTop = this.tops[i] - box.clientHeight / 2;
      this.render();
    }
    const li = this.rows.get(id);
    if (!li) return;
    const r = li.getBoundingClientRect(), b = box.getBoundingClientRect();
    if (r.top < b.top || r.bottom > b.bottom) box.scrollTop += r.top - b.top - box.clientHeight / 2 + r.height;
    if (this.windowed) this.render();
  }
  end() {
    this.box.scrollTop = 1e9;
    if (this.windowed) { this.render(); this.box.scrollTop = 1e9; }
  }
  // The next row after `id` whose words contain `text`, around the end; null where there is none.
  find(text, id) {
    const wanted = text.trim().toLocaleLowerCase(), n = this.items.length, from = (this.index.get(id) ?? -1) + 1;
    if (!wanted) return null;
    for (let k = 0; k < n; k++) { const e = this.items[(from + k) % n]; if (e.transcript?.text.toLocaleLowerCase().includes(wanted)) return e.id; }
    return null;
  }
}
