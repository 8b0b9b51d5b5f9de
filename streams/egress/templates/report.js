"use strict";
(() => {
  const $ = id => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const events = data.events, body = document.body, calm = matchMedia("(prefers-reduced-motion: reduce)");
  const narrow = matchMedia("(max-width: 860px)"), dark = matchMedia("(prefers-color-scheme: dark)");
  const rows = new Map([...document.querySelectorAll(".turn")].map(b => [+b.dataset.i, b]));
  const spans = new Map([...document.querySelectorAll(".sp")].map(s => [+s.dataset.i, s]));
  const order = [...rows.keys()], rowOf = i => rows.get(data.lead[i]);
  const media = $("media"), panel = $("panel"), ruler = $("ruler"), lanes = $("lanes");
  let selected = -1, position = 0, view = data.view.slice(), range = null;

  // Every text goes into the page as a text node.
  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
    node.append(...children.filter(child => child !== null && child !== ""));
    return node;
  };
  const two = n => String(n).padStart(2, "0");
  const clock = ms => {
    const s = Math.max(0, Math.floor(ms / 1000));
    return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
  };
  const known = new Set(["anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "unknown", "withheld"]);
  const colour = state => `--c:var(--${known.has(state) ? state : "other"})`;
  const signed = v => v === null ? "none" : (v > 0 ? "+" : v < 0 ? "−" : "") + Math.abs(v).toFixed(2);
  const percent = v => `${Math.round(v * 100)} %`;

  // Evidence of one moment.
  const bars = items => el("div", { class: "bars" }, ...items.flatMap(([name, share, style, note]) =>
    note !== null ? [el("span", {}, name), el("span", { class: "off" }, note)]
      : [el("span", {}, name), el("span", { class: "b" }, el("i", { style: `width:${Math.max(0, Math.min(1, share)) * 100}%;${style}` })), el("span", { class: "n" }, percent(share))]));
  const show = i => {
    const e = events[i];
    if (!e) return;
    const row = data.rows[e.p], withheld = e.st === "withheld";
    const chip = el("span", { class: `state ${e.st === "unknown" ? "hatch" : withheld ? "out" : ""}`, style: colour(e.st) }, e.st);
    const kind = { face: "face while silent", music: "music", conversation: "conversation" }[e.k];
    const parts = [
      el("p", { class: "when" }, `${clock(e.s)} to ${clock(e.e)} · ${row.name}${kind ? " · " + kind : ""}`),
      el("p", { class: "what" }, chip, withheld ? "" : e.cmp || "", e.pv ? el("small", {}, `turned from ${e.pv}`) : ""),
    ];
    const turning = e.tx ? [el("h3", {}, "What preceded this turn"), el("p", { dir: "auto" }, e.tx)] : [];
    if (e.said) parts.push(el("blockquote", { dir: "auto", lang: e.lang || null }, e.said));
    if (withheld) {
      parts.push(el("p", {}, `No emotion is inferred here: ${e.why || row.note || "policy forbids it"}. Words and conversation figures are not affected.`));
      if (e.x) parts.push(el("h3", {}, "What was observed"), el("p", { dir: "auto" }, e.x));
      return panel.replaceChildren(...parts);
    }
    if (e.st === "unknown") parts.push(el("p", {}, "The system abstains: no label is likely enough to be stated."));
    const used = e.mo.map(([name, present, weight, quality, reason]) =>
      [name, weight, "--c:var(--quiet)", present ? null : reason || "not in this moment"]);
    if (used.length) parts.push(el("h3", {}, "Share of each modality in the decision"), bars(used));
    const poor = e.mo.filter(m => m[1] && m[4]).map(m => `${m[0]}: ${m[4]}`);
    if (poor.length) parts.push(el("p", { class: "quiet" }, poor.join("; ")));
    if (e.ev.length) parts.push(el("h3", {}, "What it rests on"), el("ul", { class: "ev" }, ...e.ev.map(([name, text, weight, supports]) =>
      el("li", {}, el("span", { dir: "auto" }, el("b", {}, name), ` ${supports ? "" : "(speaks against it) "}`, text), el("span", {}, percent(weight))))));
    else if (e.x) parts.push(el("p", { dir: "auto" }, e.x));
    if (e.pr.length) parts.push(el("h3", {}, "Probability of each label"), bars(e.pr.map(([label, p]) => [label, p, colour(label), null])));
    parts.push(el("h3", {}, "On the scales"), el("dl", { class: "nums" }, ...[["valence", signed(e.v)], ["arousal", signed(e.a)],
      ["intensity", e.int === null ? "none" : e.int.toFixed(2)], ["confidence", e.c === null ? "none" : e.c.toFixed(2)]]
      .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))));
    parts.push(...turning);
    if (e.jn) parts.push(el("p", { class: "quiet" }, e.jn.ok ? `Face and voice were joined by mouth movement (score ${e.jn.score}).` : "The face was not joined to this voice."));
    panel.replaceChildren(...parts);
  };

  // Selection: one moment everywhere, and in the address.
  const say = ms => {
    position = Math.max(0, Math.min(ms, data.duration * 1000));
    const e = events[at(position)];
    ruler.setAttribute("aria-valuenow", Math.round(position / 1000));
    ruler.setAttribute("aria-valuetext", clock(position) + (e && e.s <= position && position < e.e ? `, ${data.rows[e.p].name}: ${e.st}` : ""));
    $("head").style.setProperty("--at", position / 1000);
  };
  const at = ms => {
    let best = -1, cost = Infinity;
    for (let i = 0; i < events.length; i++) {
      const e = events[i];
      const away = ms < e.s ? (e.s - ms) * 2 : ms >= e.e ? ms - e.e + 1 : e.st === "withheld" ? 1 : e.k === "utterance" ? 0 : 0.5;
      if (away < cost) { cost = away; best = i; }
    }
    return best;
  };
  const select = (i, { write = true, seek = true, focus = false, sheet = true, scroll = true } = {}) => {
    if (!events[i]) return;
    const old = rowOf(selected), now = rowOf(i), e = events[i];
    spans.get(selected)?.classList.remove("on");
    spans.get(i)?.classList.add("on");
    if (old) { old.removeAttribute("aria-current"); }
    for (const row of rows.values()) if (row.tabIndex === 0) row.tabIndex = -1;
    selected = i;
    $("sel").style.setProperty("--at", e.s / 1000);
    $("sel").style.setProperty("--len", (e.e - e.s) / 1000);
    if (now) {
      now.setAttribute("aria-current", "true");
      now.tabIndex = 0;
      if (focus) now.focus({ preventScroll: true });
      if (scroll && !(narrow.matches && !focus)) reveal(now);
    }
    show(i);
    say(e.s);
    if (e.s / 1000 < view[0] || e.s / 1000 > view[1]) pan(e.s / 1000);
    if (sheet) body.classList.add("sheet");
    if (seek && media && media.readyState > 0) media.currentTime = e.s / 1000;
    if (write) try { history.replaceState(null, "", `#t=${e.s / 1000}&e=${e.id}`); } catch { location.hash = `t=${e.s / 1000}&e=${e.id}`; }
  };
  const reveal = row => {
    const box = $("turns"), inside = box.scrollHeight > box.clientHeight + 4 && getComputedStyle(box).overflowY === "auto";
    if (!inside) return row.scrollIntoView({ block: "nearest" });
    const r = row.getBoundingClientRect(), b = box.getBoundingClientRect();
    if (r.top < b.top || r.bottom > b.bottom) box.scrollTop += r.top - b.top - box.clientHeight / 3;
  };
  const fromAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    const byId = events.findIndex(e => e.id === given.get("e"));
    const t = Number.parseFloat(given.get("t"));
    const i = byId >= 0 ? byId : Number.isFinite(t) ? at(t * 1000) : -1;
    if (i >= 0) select(i, { write: false });
    return i >= 0;
  };
  const step = by => select(order[Math.max(0, Math.min(order.length - 1, order.indexOf(data.lead[selected] ?? order[0]) + by))], { focus: document.activeElement?.classList.contains("turn") });
  const nudge = ms => {
    const to = position + ms;
    const i = at(to);
    if (events[i] && events[i].s <= to && to < events[i].e && i !== selected) select(i, { seek: false });
    say(to);
    if (position / 1000 < view[0] || position / 1000 > view[1]) pan(position / 1000);
    if (media && media.readyState > 0) media.currentTime = position / 1000;
  };

  // One window on the axis. What lies outside is taken out of the layout: a three-hour call has thousands of spans.
  const placed = [...lanes.querySelectorAll(".lane i, .lane .alertflag")].map(node => ({
    node, start: +node.style.getPropertyValue("--s"), end: +node.style.getPropertyValue("--e"), shown: true,
  }));
  const cull = () => {
    for (const item of placed) {
      const shown = item.end >= view[0] && item.start <= view[1];
      if (shown !== item.shown) { item.node.style.display = shown ? "" : "none"; item.shown = shown; }
    }
  };
  const setView = (start, end, toChart = true) => {
    const [low, high] = data.whole, length = Math.min(Math.max(end - start, 4), high - low);
    start = Math.max(low, Math.min(start, high - length));
    view = [start, start + length];
    lanes.style.setProperty("--t0", view[0]);
    lanes.style.setProperty("--span", length);
    cull();
    if (toChart && range) range.setv({ start: view[0], end: view[1] }); // both at once: half a change would come back as one
    requestAnimationFrame(thin);
  };
  const zoom = by => {
    const middle = position / 1000 >= view[0] && position / 1000 <= view[1] ? position / 1000 : (view[0] + view[1]) / 2;
    setView(middle - (middle - view[0]) * by, middle + (view[1] - middle) * by);
  };
  const pan = to => setView(to - (view[1] - view[0]) * 0.3, to + (view[1] - view[0]) * 0.7);
  const flags = [...lanes.querySelectorAll(".alertflag")];
  const named = () => { // the name of a flag that would cover its neighbour waits for a closer look
    const width = ruler.clientWidth, at = flag => (Number(flag.style.getPropertyValue("--s")) - view[0]) / (view[1] - view[0]) * width;
    for (const flag of flags) {
      const x = at(flag), wide = 22 + 6.5 * flag.textContent.trim().length, [from, to] = flag.classList.contains("late") ? [x - wide, x] : [x, x + wide];
      const near = flags.some(o => o !== flag && o.style.getPropertyValue("--r") === flag.style.getPropertyValue("--r") && at(o) > from - 14 && at(o) < to + 4);
      flag.classList.toggle("tight", near);
    }
  };
  const thin = () => { // faces that would cover one another wait for a closer look
    named();
    let edge = -Infinity;
    const strip = $("faces");
    if (!strip) return;
    const width = strip.clientWidth;
    for (const face of strip.children) {
      const x = (Number(face.style.getPropertyValue("--s")) - view[0]) / (view[1] - view[0]) * width;
      const free = x >= edge && x <= width - 30;
      face.classList.toggle("hid", !free);
      if (free && x > -44) edge = x + 48;
    }
  };

  // Curves.
  const paint = doc => {
    const style = getComputedStyle(document.documentElement), css = name => style.getPropertyValue(name).trim() || style.getPropertyValue("--other").trim();
    for (const model of doc.all_models ?? doc._all_models.values()) {
      const name = (model.tags ?? []).find(tag => typeof tag === "string" && tag.startsWith("--"));
      if (!name) continue;
      const value = css(name), has = key => key in model.properties;
      if (has("axis_line_color")) model.setv({ axis_line_color: css("--line"), major_tick_line_color: css("--line"), major_label_text_color: value });
      else model.setv({ ...(has("line_color") && !(name !== "--select" && has("fill_color")) ? { line_color: value } : {}), ...(has("fill_color") ? { fill_color: value } : {}), ...(has("hatch_color") ? { hatch_color: value } : {}) });
    }
  };
  const curves = async () => {
    const bytes = Uint8Array.from(atob($("bokeh").textContent.trim()), c => c.charCodeAt(0));
    const code = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    document.head.append(Object.assign(document.createElement("script"), { textContent: code }));
    const roots = {};
    for (const [name, id] of Object.entries(data.charts.roots)) if ($(`c-${name}`)) roots[id] = `c-${name}`;
    await Bokeh.embed.embed_items({ report: data.charts.doc }, [{ docid: "report", roots, root_ids: Object.keys(roots) }]);
    const doc = Bokeh.documents.at(-1);
    range = doc.get_model_by_name("view");
    paint(doc);
    dark.addEventListener("change", () => paint(doc));
    range.change.connect(() => { if (Math.abs(range.start - view[0]) > 1e-6 || Math.abs(range.end - view[1]) > 1e-6) setView(range.start, range.end, false); });
    range.setv({ start: view[0], end: view[1] });
    const ticks = doc.get_model_by_name("ticks"), fit = () => { ticks.desired_num_ticks = Math.max(3, Math.min(12, Math.round(ruler.clientWidth / 110))); };
    fit();
    addEventListener("resize", fit);
    settle();
    body.dataset.charts = "ready";
  };

  // Pointer.
  const timeOf = event => {
    const box = ruler.getBoundingClientRect();
    return (view[0] + (event.clientX - box.left) / box.width * (view[1] - view[0])) * 1000;
  };
  const inRow = (lane, ms) => {
    let best = -1, cost = Infinity;
    events.forEach((e, i) => {
      const away = ms < e.s ? e.s - ms : ms > e.e ? ms - e.e : 0;
      if (e.p === +lane.dataset.p && away < cost) { cost = away; best = i; }
    });
    return best;
  };
  lanes.addEventListener("click", event => {
    const marked = event.target.closest(".faces .at, .sp, .turnpoint, .alertflag"), lane = event.target.closest(".part");
    if (marked) return marked.dataset.i ? select(+marked.dataset.i) : undefined;
    if (lane) return select(inRow(lane, timeOf(event)));
    if (event.target.closest(".ruler, .talk")) { const ms = timeOf(event); select(at(ms)); nudge(ms - position); }
  });
  lanes.addEventListener("pointermove", event => {
    const lane = event.target.closest(".part");
    if (lane && event.pointerType === "mouse" && !narrow.matches) show(inRow(lane, timeOf(event)));
  });
  lanes.addEventListener("pointerleave", () => show(selected));
  const turns = $("turns");
  turns.addEventListener("click", event => { const turn = event.target.closest(".turn"); if (turn) select(+turn.dataset.i); });
  turns.addEventListener("pointerover", event => { const turn = event.target.closest(".turn"); if (turn && event.pointerType === "mouse") show(+turn.dataset.i); });
  turns.addEventListener("pointerleave", () => show(selected));
  turns.addEventListener("focusin", event => { const turn = event.target.closest(".turn"); if (turn) show(+turn.dataset.i); });
  turns.addEventListener("focusout", () => show(selected));
  for (const list of document.querySelectorAll(".moments")) list.addEventListener("click", event => {
    const go = event.target.closest("[data-go]");
    if (!go) return;
    select(+go.dataset.go);
    if (!narrow.matches) lanes.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  });
  $("close").addEventListener("click", () => { body.classList.remove("sheet"); rowOf(selected)?.focus(); });
  $("in").addEventListener("click", () => zoom(0.5));
  $("out").addEventListener("click", () => zoom(2));
  $("all").addEventListener("click", () => setView(...data.whole));
  $("help").addEventListener("click", () => $("keys").showModal());

  // Keys.
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open || event.target.closest("input, textarea, select, video, audio")) return;
    const turn = event.target.closest(".turn"), key = event.key;
    const playable = media && !$("player").hidden;
    const actions = {
      j: () => step(1), k: () => step(-1), ArrowRight: () => nudge(event.shiftKey ? 10000 : 1000), ArrowLeft: () => nudge(event.shiftKey ? -10000 : -1000),
      "?": () => $("keys").showModal(), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => setView(...data.whole),
    };
    if (turn) Object.assign(actions, { ArrowDown: () => step(1), ArrowUp: () => step(-1) });
    if (event.target === ruler) Object.assign(actions, { Home: () => nudge(-position), End: () => nudge(data.duration * 1000 - position) });
    if (playable && (turn || !event.target.closest("button, a, summary"))) actions[" "] = () => media.paused ? media.play() : media.pause();
    if (key === "Escape") body.classList.remove("sheet");
    const action = actions[key.length === 1 ? key.toLowerCase() : key];
    if (!action || !events.length) return;
    event.preventDefault();
    action();
  });

  // Playback follows and leads.
  if (media) {
    const there = () => { $("player").hidden = false; settle(); };
    if (media.readyState > 0) there();
    media.addEventListener("loadedmetadata", there);
    media.addEventListener("error", () => { $("player").hidden = true; $("missing").hidden = false; });
    if (media.error) $("missing").hidden = false;
    let current = null;
    media.addEventListener("timeupdate", () => {
      if (media.paused) return;
      say(media.currentTime * 1000);
      if (media.currentTime > view[1] || media.currentTime < view[0]) pan(media.currentTime);
      const i = at(media.currentTime * 1000), row = rowOf(i);
      if (row !== current) { current?.classList.remove("now"); row?.classList.add("now"); current = row; if (row) { if (!narrow.matches) reveal(row); show(i); } }
    });
    media.addEventListener("play", () => body.classList.toggle("live", !calm.matches));
    media.addEventListener("pause", () => { body.classList.remove("live"); select(at(media.currentTime * 1000), { seek: false, scroll: false }); say(media.currentTime * 1000); });
  }

  const settle = () => { // axis and transcript on one screen: the list ends where the first screen ends
    if (turns.offsetParent) turns.style.setProperty("--above", `${Math.round(turns.getBoundingClientRect().top + scrollY)}px`);
  };
  settle();
  addEventListener("hashchange", fromAddress);
  addEventListener("resize", settle);
  addEventListener("resize", thin);
  if (!fromAddress() && events.length) {
    const first = data.turn !== null ? at(data.turn) : Math.max(0, events.findIndex(e => e.st !== "withheld"));
    select(first, { write: false, seek: false, sheet: false, scroll: !narrow.matches });
  }
  cull();
  thin();
  if (events.length) curves().catch(problem => { console.warn(problem); body.classList.add("nochart"); body.dataset.charts = "none"; });
  else body.dataset.charts = "none";
})();
