// Grey pictures in a canvas: one, two side by side, two under a slider, or their signed difference.
const TOP = 255; // grey levels are 0 to 255: a canvas decodes PNGs to 8 bits, which is what the page makes

// A colour as the canvas stores it.
function packed(red, green, blue) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

async function loadGrey(url) {
  const blob = await (await fetch(url)).blob();
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const canvas = node("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const colours = context.getImageData(0, 0, width, height).data;
  return { width, height, levels: colours.filter((_, index) => index % 4 === 0) };
}

function difference(first, second) {
  const levels = Int16Array.from(first.levels, (level, index) => second.levels[index] - level);
  const peak = levels.reduce((most, level) => Math.max(most, Math.abs(level)), 1);
  const mean = levels.reduce((sum, level) => sum + Math.abs(level), 0) / levels.length;
  return { width: first.width, height: first.height, levels, peak, mean };
}

class GreyView {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.pictures = [];
    this.mode = "single";
    this.split = 0.5;
    this.reset();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  reset() {
    Object.assign(this, { window: TOP, level: TOP / 2, isInverted: false, zoom: null, pan: [0, 0] });
    this.draw();
  }

  show(mode, ...pictures) {
    this.mode = mode;
    this.pictures = pictures;
    this.difference = mode === "difference" ? difference(...pictures) : null;
    this.draw();
  }

  // The colour of each level, [256, 3], under window, level and inversion.
  greys() {
    const low = this.level - this.window / 2;
    return Uint8ClampedArray.from({ length: TOP + 1 }, (_, level) => {
      const grey = Math.min(Math.max((TOP * (level - low)) / this.window, 0), TOP);
      return this.isInverted ? TOP - grey : grey;
    });
  }

  paint(picture, palette, offset = 0) {
    const { width, height, levels } = picture;
    const canvas = node("canvas", { width, height });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let index = 0; index < levels.length; index++) pixels[index] = palette[levels[index] + offset];
    context.putImageData(image, 0, 0);
    return canvas;
  }

  paintGrey(picture) {
    return this.paint(picture, Uint32Array.from(this.greys(), (grey) => packed(grey, grey, grey)));
  }

  // Blue where the first is brighter, orange where the second is; the window says what is full colour.
  paintDifference() {
    const full = (this.difference.peak * this.window) / TOP;
    const palette = Uint32Array.from({ length: 2 * TOP + 1 }, (_, at) => {
      const share = Math.min(Math.abs(at - TOP) / full, 1);
      return packed(...(at < TOP ? [64, 156, 255] : [255, 150, 40]).map((part) => Math.round(part * share)));
    });
    return this.paint(this.difference, palette, TOP);
  }

  // Where each picture is drawn, in pixels of the screen: [left, width] of its pane and [left, width] of what is seen.
  panes() {
    const all = this.canvas.width;
    if (this.mode === "side") return [0, 1].map((at) => ({ pane: [(at * all) / 2, all / 2], seen: [(at * all) / 2, all / 2 - 1] }));
    const border = Math.round(all * this.split);
    if (this.mode === "slider") return [[0, border], [border + 1, all - border - 1]].map((seen) => ({ pane: [0, all], seen }));
    return [{ pane: [0, all], seen: [0, all] }];
  }

  scale() {
    if (this.zoom !== null || !this.pictures.length) return this.zoom ?? 1;
    const [picture] = this.pictures;
    return Math.min(this.panes()[0].pane[1] / picture.width, this.canvas.height / picture.height);
  }

  place(pane, picture) {
    const scale = this.scale();
    const [left, width] = pane;
    const [x, y] = this.zoom === null ? [0, 0] : this.pan;
    return [
      Math.round(left + width / 2 + x - (picture.width * scale) / 2),
      Math.round(this.canvas.height / 2 + y - (picture.height * scale) / 2),
    ];
  }

  draw() {
    if (this.isWaiting || !this.pictures) return;
    this.isWaiting = true; // once for each frame, however many changes come
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.drawNow();
    });
  }

  drawNow() {
    const { canvas, context } = this;
    const ratio = window.devicePixelRatio || 1;
    const size = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * ratio));
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    context.clearRect(0, 0, ...size);
    if (!this.pictures.length) return;
    const scale = this.scale();
    this.panes().forEach(({ pane, seen }, at) => {
      const picture = this.pictures[at];
      const painted = this.difference ? this.paintDifference() : this.paintGrey(picture);
      context.save();
      context.beginPath();
      context.rect(seen[0], 0, seen[1], canvas.height);
      context.clip();
      context.imageSmoothingEnabled = scale < 1; // real pixels stay sharp
      context.drawImage(painted, ...this.place(pane, picture), picture.width * scale, picture.height * scale);
      context.restore();
    });
  }

  // Zoom around a point of the canvas, in pixels of the screen from its centre.
  zoomBy(factor, [x, y] = [0, 0]) {
    const before = this.scale();
    const after = Math.min(Math.max(before * factor, 0.1), 40);
    const pan = this.zoom === null ? [0, 0] : this.pan;
    this.pan = [x - ((x - pan[0]) * after) / before, y - ((y - pan[1]) * after) / before];
    this.zoom = after;
    this.draw();
  }

  moveBy(x, y) {
    const scale = this.scale();
    this.pan = this.zoom === null ? [x, y] : [this.pan[0] + x, this.pan[1] + y];
    this.zoom = scale;
    this.draw();
  }

  // The pixel under a point of the canvas, in CSS pixels, as text; "" outside of the picture.
  describePixel(x, y) {
    const ratio = this.canvas.width / this.canvas.clientWidth;
    const at = this.panes().findIndex(({ seen }) => x * ratio >= seen[0] && x * ratio < seen[0] + seen[1]);
    const picture = this.difference || this.pictures[Math.max(at, 0)];
    if (!picture) return "";
    const [left, top] = this.place(this.panes()[Math.max(at, 0)].pane, picture);
    const [column, row] = [(x * ratio - left) / this.scale(), (y * ratio - top) / this.scale()].map(Math.floor);
    if (column < 0 || row < 0 || column >= picture.width || row >= picture.height) return "";
    return `x ${column}, y ${row}: ${picture.levels[row * picture.width + column]}`;
  }
}
