"use strict";
// Lengths are HR pixels unless they are named otherwise. A bitmap is {src, box: [x, y, width, height]}: the part of the image it covers.

const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
const MOST_ZOOM = 16;

class Picture {
  constructor(section, room) {
    this.section = section;
    this.find = (selector) => section.querySelector(selector);
    this.all = (selector) => [...section.querySelectorAll(selector)];
    this.room = room; // width of the section in CSS pixels
    this.data = JSON.parse(this.find("script.data").textContent);
    this.views = null; // until it loads
    this.stage = this.find(".stage");
    this.divider = this.find(".divider");
    this.tiles = this.all(".tile");
    this.mode = "pictures";
    this.onStage = "whole";
    this.left = this.data.left;
    this.right = this.data.right;
    this.at = 50;
    this.build();
    this.listen();
    this.showPart(0);
  }

  /** The bitmaps, when the section comes near: a page may hold many large images. */
  load() {
    if (this.views) return;
    const script = this.find("script.views");
    this.views = JSON.parse(script.textContent);
    script.remove(); // the text is parsed: free its memory
    this.draw();
  }

  /** Everything but the bitmaps, so that the section has its height and links to those below it arrive. */
  build() {
    const { labels, crops } = this.data;
    for (const side of ["left", "right"]) {
      for (const label of labels) this.find(`.pick-${side}`).add(new Option(label));
    }
    const parts = this.find(".parts");
    crops.forEach((_, i) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: `Part ${i + 1}` });
      button.addEventListener("click", () => this.showPart(i));
      parts.append(button);
      this.find(".frames").append(document.createElement("i"));
    });
    if (!this.data.errors.includes(true)) this.find("[data-mode=errors]").parentElement.hidden = true;
  }

  listen() {
    this.find(".pick-left").addEventListener("change", (event) => this.choose("left", event.target.selectedIndex));
    this.find(".pick-right").addEventListener("change", (event) => this.choose("right", event.target.selectedIndex));
    for (const button of this.all("[data-side]")) {
      button.addEventListener("click", () => this.choose(button.dataset.side, Number(button.dataset.view)));
    }
    for (const button of this.all("[data-stage]")) {
      button.addEventListener("click", () => this.update({ onStage: button.dataset.stage }));
    }
    for (const button of this.all("[data-mode]")) {
      button.addEventListener("click", () => this.update({ mode: button.dataset.mode }));
    }
    for (const button of this.all("[data-zoom]")) {
      button.addEventListener("click", () => this.zoom(Number(button.dataset.zoom)));
    }
    this.listenToDivider();
    for (const tile of this.tiles) this.listenToTile(tile);
    new ResizeObserver(([entry]) => {
      this.room = entry.contentRect.width;
      this.draw();
    }).observe(this.section);
  }

  listenToDivider() {
    const follow = (event) => {
      const box = this.stage.getBoundingClientRect();
      this.moveTo(((event.clientX - box.left) / box.width) * 100);
    };
    this.stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.stage.setPointerCapture(event.pointerId);
      this.divider.focus({ preventScroll: true });
      follow(event);
      event.preventDefault();
    });
    this.stage.addEventListener("pointermove", (event) => {
      if (this.stage.hasPointerCapture(event.pointerId)) follow(event);
    });
    this.divider.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const step = event.shiftKey ? 10 : 1;
      const targets = {
        ArrowLeft: this.at - step, ArrowDown: this.at - step, ArrowRight: this.at + step, ArrowUp: this.at + step,
        PageDown: this.at - 10, PageUp: this.at + 10, Home: 0, End: 100,
      };
      const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
      if (event.key in targets) this.moveTo(targets[event.key]);
      else if (digit && digit[1] <= this.data.labels.length) this.choose(event.shiftKey ? "left" : "right", digit[1] - 1);
      else return;
      event.preventDefault();
    });
  }

  listenToTile(tile) {
    const pixel = () => this.view.width / tile.clientWidth; // HR pixels in a CSS pixel
    const share = (x, y) => {
      const box = tile.getBoundingClientRect();
      return [(x - box.left) / box.width, (y - box.top) / box.height];
    };
    const pointers = new Map(); // the mouse, or the fingers on this tile
    const grip = () => { // where they are, and how far apart
      const [one, other = one] = [...pointers.values()];
      return { x: (one[0] + other[0]) / 2, y: (one[1] + other[1]) / 2, apart: Math.hypot(one[0] - other[0], one[1] - other[1]) };
    };
    tile.addEventListener("pointerdown", (event) => {
      tile.focus({ preventScroll: true });
      if (event.button !== 0) return;
      tile.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    tile.addEventListener("pointermove", (event) => {
      if (!pointers.has(event.pointerId)) return;
      const before = grip();
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      const after = grip();
      this.pan((before.x - after.x) * pixel(), (before.y - after.y) * pixel());
      if (before.apart && after.apart) this.zoom(after.apart / before.apart, share(after.x, after.y));
    });
    tile.addEventListener("lostpointercapture", (event) => pointers.delete(event.pointerId));
    tile.addEventListener("wheel", (event) => {
      if (document.activeElement !== tile && !event.ctrlKey) return; // the page scrolls over tiles that are not in use
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.25 : 0.8, share(event.clientX, event.clientY));
    }, { passive: false });
    tile.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const step = this.view.width / 10;
      const steps = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
      if (event.key in steps) this.pan(...steps[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoom(2);
      else if (event.key === "-") this.zoom(0.5);
      else return;
      event.preventDefault();
    });
  }

  update(changes) {
    Object.assign(this, changes);
    this.draw();
  }

  choose(side, index) {
    this.update({ [side]: index });
  }

  moveTo(at) {
    this.at = clamp(Math.round(at * 10) / 10, 0, 100);
    this.drawDivider();
  }

  showPart(index) {
    const [x, y, width, height] = this.data.crops[index];
    this.update({ part: index, view: { x, y, width, height } });
  }

  /** What the view may cover: the whole image, or the part alone where the whole is embedded reduced. */
  bounds() {
    return this.data.reduced ? this.data.crops[this.part] : [0, 0, this.data.width, this.data.height];
  }

  pan(dx, dy) {
    const [x, y, width, height] = this.bounds();
    const view = this.view;
    this.update({
      view: { ...view, x: clamp(view.x + dx, x, x + width - view.width), y: clamp(view.y + dy, y, y + height - view.height) },
    });
  }

  zoom(factor, [right, down] = [0.5, 0.5]) {
    const [, , cropWidth, cropHeight] = this.data.crops[this.part];
    const [, , mostWidth, mostHeight] = this.bounds();
    const view = this.view;
    const most = Math.min(mostWidth, (mostHeight * cropWidth) / cropHeight);
    const width = clamp(view.width / factor, Math.min(cropWidth / MOST_ZOOM, most), most);
    const height = (width * cropHeight) / cropWidth;
    this.view = { x: view.x + (view.width - width) * right, y: view.y + (view.height - height) * down, width, height };
    this.pan(0, 0);
  }

  bitmap(index, part) {
    const view = this.views[index];
    const kind = this.showsError(index) ? view.errors : view.pictures;
    return part && this.data.reduced ? kind.parts[this.part] : kind.whole;
  }

  showsError(index) {
    return this.mode === "errors" && this.data.errors[index];
  }

  /** Put the part of a bitmap that a view covers into a box `size` CSS pixels wide. */
  place(image, index, part, view, size) {
    if (!this.views) return;
    const bitmap = this.bitmap(index, part);
    const scale = size / view.width;
    const [x, y, width, height] = bitmap.box;
    if (image.bitmap !== bitmap) {
      image.src = bitmap.src;
      image.bitmap = bitmap;
    }
    image.style.left = `${(x - view.x) * scale}px`;
    image.style.top = `${(y - view.y) * scale}px`;
    image.style.width = `${width * scale}px`;
    image.style.height = `${height * scale}px`;
    image.classList.toggle("sharp", width * scale >= bitmap.pixels); // enlarged: show pixels as they are
  }

  /** The largest width in CSS pixels that fits; if it can be, one at which all pixels of the view come out equally large. */
  fit(view, room, tallest) {
    const size = Math.min(room, (tallest * view.width) / view.height);
    const times = Math.floor((size / view.width) * devicePixelRatio) / devicePixelRatio;
    return times >= 1 ? times * view.width : size;
  }

  draw() {
    const whole = { x: 0, y: 0, width: this.data.width, height: this.data.height };
    const isPart = this.onStage === "part";
    const shown = isPart ? this.view : whole;
    const [, , cropWidth, cropHeight] = this.data.crops[this.part];
    const size = this.fit(isPart ? { width: cropWidth, height: cropHeight } : whole, this.room, innerHeight * 0.8);
    this.stage.style.width = `${size}px`;
    this.stage.style.height = `${(size * shown.height) / shown.width}px`;
    for (const side of ["left", "right"]) {
      this.place(this.find(`.layer.${side} img`), this[side], isPart, shown, size);
      this.find(`.tag.${side}`).textContent = this.data.labels[this[side]] + (this.showsError(this[side]) ? ", error" : "");
      this.find(`.pick-${side}`).selectedIndex = this[side];
    }
    this.drawTiles(this.room, cropWidth, cropHeight);
    this.drawFrames(isPart, size / whole.width);
    this.drawButtons();
    this.drawDivider();
  }

  drawTiles(room, cropWidth, cropHeight) {
    const gap = 14;
    let columns = this.tiles.length; // all in a row, or in rows of about equal length
    const least = clamp(2 * cropWidth, 170, 260); // room for a caption, and for pixels twice as large
    for (let rows = 1; columns > 2 && (room + gap) / columns - gap < least; rows++) columns = Math.ceil(this.tiles.length / rows);
    const most = Math.min(320, (room + gap) / Math.max(columns, 2) - gap);
    const size = this.fit({ width: cropWidth, height: cropHeight }, most, 400);
    this.find(".tiles").style.setProperty("--tile", `${Math.max(size, Math.min(168, most))}px`);
    this.tiles.forEach((tile, i) => {
      tile.style.width = `${size}px`;
      tile.style.height = `${(size * cropHeight) / cropWidth}px`;
      this.place(tile.firstElementChild, i, true, this.view, size);
      tile.setAttribute("aria-label", (this.showsError(i) ? "Error map of " : "") + this.data.labels[i]);
    });
    const { x, y, width, height } = this.view;
    const magnified = Number((size / width).toPrecision(2));
    const told = `${Math.round(width)}×${Math.round(height)} pixels from (${Math.round(x)}, ${Math.round(y)}), shown ×${magnified}`;
    const place = this.find(".place");
    if (place.textContent !== told) place.textContent = told; // screen readers announce what is set
  }

  drawFrames(isPart, scale) {
    this.all(".frames i").forEach((frame, i) => {
      const [x, y, width, height] = this.data.crops[i];
      const box = i === this.part ? this.view : { x, y, width, height };
      frame.hidden = isPart;
      frame.style.cssText = ["x:left", "y:top", "width:width", "height:height"]
        .map((pair) => pair.split(":")).map(([key, name]) => `${name}:${box[key] * scale}px`).join(";");
      frame.classList.toggle("now", i === this.part);
    });
  }

  drawButtons() {
    const press = (button, on) => button.setAttribute("aria-pressed", String(on));
    for (const button of this.all("[data-stage]")) press(button, button.dataset.stage === this.onStage);
    for (const button of this.all("[data-mode]")) press(button, button.dataset.mode === this.mode);
    for (const button of this.all("[data-side]")) press(button, this[button.dataset.side] === Number(button.dataset.view));
    this.all(".parts button").forEach((button, i) => press(button, i === this.part));
    this.find(".legend").hidden = this.mode !== "errors";
  }

  drawDivider() {
    const [left, right] = [this.left, this.right].map((index) => this.data.labels[index]);
    this.stage.style.setProperty("--at", `${this.at}%`);
    this.divider.setAttribute("aria-valuenow", String(Math.round(this.at)));
    this.divider.setAttribute("aria-valuetext", `${Math.round(this.at)} % ${left}, the rest ${right}`);
    this.divider.setAttribute("aria-label", `Divider between ${left} on the left and ${right} on the right`);
  }
}

const sections = [...document.querySelectorAll(".picture")];
const inside = ({ paddingLeft, paddingRight }) => parseFloat(paddingLeft) + parseFloat(paddingRight);
const room = sections[0].clientWidth - inside(getComputedStyle(sections[0])); // of all alike, measured before any is drawn
const pictures = new Map(sections.map((section) => [section, new Picture(section, room)]));
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    watcher.unobserve(entry.target);
    pictures.get(entry.target).load();
  }
}, { rootMargin: "800px" });
for (const section of sections) watcher.observe(section);
addEventListener("beforeprint", () => pictures.forEach((picture) => picture.load()));
