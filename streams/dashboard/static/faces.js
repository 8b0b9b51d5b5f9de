// Faces at moments of change: the server cuts them from the recording that it serves, of nobody whom policy protects.
import { clock, el, get, name, stateOf } from "/static/dom.js";

export class Faces {
  constructor(path) { Object.assign(this, { path: `${path}/faces`, of: new Map(), nodes: new Map(), busy: false }); }
  // Resolves to true where the pictures changed; at most one question in three seconds.
  async update() {
    if (this.busy) return false;
    this.busy = true;
    try {
      const { faces } = await get(this.path), before = [...this.of.keys()].join();
      this.of = new Map(faces.map(face => [face.event, face]));
      return [...this.of.keys()].join() !== before;
    } finally { setTimeout(() => { this.busy = false; }, 3000); }
  }
  get(id) { return this.of.get(id); }
  // The lane of the axis; each picture stands at the moment it was taken, under the colour of what was perceived.
  lane(find, colour) {
    return el("div", { class: "lane faces" }, [...this.of.values()].map(face => {
      const e = find(face.event);
      return e ? this.#button(face, e, colour(stateOf(e))) : null;
    }));
  }
  #button(face, e, style) {
    const words = `${name(e.participant)} at ${clock(face.at_ms)}: ${stateOf(e)}`, key = `${face.event} ${face.at_ms} ${words}`;
    const place = { ...style, "--s": face.at_ms / 1000 };
    const made = this.nodes.get(key) ?? el("button", { type: "button", class: "at", tabindex: -1, "data-id": e.id, style: place, "aria-label": words, title: words },
      el("img", { src: face.image, alt: "", width: 44, height: 44 }));
    this.nodes.set(key, made);
    return made;
  }
}
