// Valence curves by Bokeh. The server makes the document (the same as in the report); new data go into the sources that
// are on the page, so that nothing flickers.
import { $, el, get } from "/static/dom.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = doc => {
  const style = getComputedStyle(document.documentElement), css = key => style.getPropertyValue(key).trim();
  for (const model of doc._all_models.values()) {
    const key = (model.tags ?? []).find(tag => typeof tag === "string" && tag.startsWith("--"));
    if (!key || !css(key)) continue;
    for (const part of ["line_color", "fill_color"]) {
      if (part in model.properties && model[part] !== null && model[part].value !== null) model.setv({ [part]: css(key) });
    }
  }
};
export class Curves {
  constructor(session, axis) { Object.assign(this, { path: `/v1/sessions/${encodeURIComponent(session)}/curves`, axis, rows: "", doc: null, busy: false, again: false }); }
  async update() {
    if (!window.Bokeh) return;
    if (this.busy) { this.again = true; return; }
    this.busy = true; // at most one new document in two seconds, fewer where the call is long
    try {
      const found = await get(this.path);
      if (JSON.stringify(found.rows) === this.rows) this.#renew(found);
      else await this.#embed(found);
    } finally {
      setTimeout(() => { this.busy = false; if (this.again) { this.again = false; this.update().catch(() => {}); } }, 2000 + (this.axis.data?.events.length ?? 0) * 2);
    }
  }
  async #embed(found) {
    const boxes = {};
    this.axis.curve.clear();
    found.rows.forEach((id, i) => {
      const box = el("div", { class: "chart curve", id: `c-${i}`, inert: true, style: { height: `${found.height}px` } });
      this.axis.curve.set(id, box);
      boxes[found.roots[`valence-${i}`]] = box;
    });
    this.rows = JSON.stringify(found.rows);
    this.axis.redraw();
    for (const box of Object.values(boxes)) if (!box.isConnected) return;
    if (!found.rows.length) { document.body.dataset.charts = "none"; return; }
    // Bokeh gives the places to the roots of the document in their order, so all of them need one; the ruler is the page's own.
    const unseen = $("unseen") ?? document.body.appendChild(el("div", { id: "unseen", inert: true }));
    const roots = Object.fromEntries(found.doc.roots.map(({ id }) => [id, (boxes[id] ?? unseen).id]));
    await Bokeh.embed.embed_items({ call: found.doc }, [{ docid: "call", roots, root_ids: Object.keys(roots) }]);
    this.doc = Bokeh.documents.at(-1);
    this.names = found.roots;
    this.range = this.doc.get_model_by_name("view");
    paint(this.doc);
    dark.addEventListener("change", () => paint(this.doc));
    this.show(...this.axis.view);
    document.body.dataset.charts = "ready";
  }
  #renew(found) {
    if (!this.doc) return;
    const fresh = this.doc.constructor.from_json(found.doc);
    for (const [key, id] of Object.entries(found.roots)) {
      if (!key.startsWith("valence")) continue;
      const old = this.doc.get_model_by_id(this.names[key]), now = fresh.get_model_by_id(id);
      old.renderers.forEach((r, i) => { if (r.data_source && now.renderers[i]?.data_source) r.data_source.data = now.renderers[i].data_source.data; });
    }
  }
  show(start, end) { this.range?.setv({ start, end }); }
}
