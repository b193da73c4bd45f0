// The picture, and what it is compared with: side by side at a divider, or in its place while a key is held.
import {find} from "./elements.js";

// Shows a picture in the element `id`, once it is decoded.
export async function show(id, blob, alt) {
  const address = URL.createObjectURL(blob), image = new Image();
  image.src = address;
  await image.decode();
  const element = find(id), old = element.src;
  element.src = address;
  element.alt = alt;
  if (old) URL.revokeObjectURL(old);
}

export class Comparison {
  // need: a function that sees to it that the picture before is there.
  constructor(need) {
    this.need = need;
    this.comparing = false;
    this.held = false;
    this.connectDivider();
    this.connectHolding();
  }

  toggle() {
    this.comparing = !this.comparing;
    this.update();
    if (this.comparing) find("divider").focus({preventScroll: true});
  }

  hold(held) {
    if (this.held === held) return;
    this.held = held;
    this.update();
  }

  get shown() {
    return this.comparing || this.held;
  }

  update() {
    if (this.shown) this.need();
    find("pictures").classList.toggle("held", this.held);
    for (const id of ["before", "before-tag"]) find(id).hidden = !this.shown;
    find("divider").hidden = find("now-tag").hidden = !this.comparing || this.held;
    find("compare").setAttribute("aria-pressed", this.comparing);
  }

  split(share) {
    const percent = Math.round(100 * Math.min(Math.max(share, 0), 1));
    find("pictures").style.setProperty("--split", `${percent}%`);
    find("divider").setAttribute("aria-valuenow", percent);
    find("divider").setAttribute("aria-valuetext", `${percent} percent before, the rest now`);
  }

  connectDivider() {
    const pictures = find("pictures"), divider = find("divider");
    const follow = (event) => {
      const box = pictures.getBoundingClientRect();
      this.split((event.clientX - box.left) / box.width);
    };
    pictures.addEventListener("pointerdown", (event) => {
      if (!this.comparing) return;
      event.preventDefault();
      pictures.setPointerCapture(event.pointerId);
      pictures.addEventListener("pointermove", follow);
      divider.focus({preventScroll: true});
      follow(event);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      pictures.addEventListener(end, () => pictures.removeEventListener("pointermove", follow));
    }
    divider.addEventListener("keydown", (event) => {
      const now = divider.getAttribute("aria-valuenow") / 100;
      const places = {ArrowLeft: now - 0.02, ArrowDown: now - 0.02, ArrowRight: now + 0.02, ArrowUp: now + 0.02,
                      Home: 0, End: 1};
      if (!(event.key in places)) return;
      event.preventDefault();
      this.split(places[event.key]);
    });
  }

  connectHolding() {
    const button = find("hold");
    button.addEventListener("pointerdown", () => this.hold(true));
    for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) {
      button.addEventListener(end, () => this.hold(false));
    }
    button.addEventListener("keydown", (event) => { if (event.key === " " || event.key === "Enter") this.hold(true); });
    button.addEventListener("keyup", () => this.hold(false));
    window.addEventListener("blur", () => this.hold(false));
  }
}
