// Mouse, touch and keys of the canvas.
const KEYS = { f: "fit", F: "fit", 1: "real", "+": "in", "=": "in", "-": "out", i: "invert", I: "invert", r: "reset", R: "reset" };
const STEP = 40; // pixels of the screen that an arrow key moves

// Two fingers: their middle moves the picture, their distance zooms it. Returns whether there are two.
function pinched(view, fingers, event, fromCentre, changed) {
  const before = [...fingers.values()];
  fingers.set(event.pointerId, event);
  if (fingers.size !== 2) return false;
  const after = [...fingers.values()];
  const middle = ([one, other]) => ({ clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2 });
  const apart = ([one, other]) => Math.max(Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY), 1);
  const [from, to] = [fromCentre(middle(before)), fromCentre(middle(after))];
  view.zoomBy(apart(after) / apart(before), from);
  view.moveBy(to[0] - from[0], to[1] - from[1]);
  changed();
  return true;
}

function addGestures(view, { act, step, changed, setSplit, readOut }) {
  const { canvas } = view;
  const fingers = new Map();
  let drag = null;
  const fromCentre = (event) => {
    const box = canvas.getBoundingClientRect();
    const ratio = canvas.width / box.width;
    return [(event.clientX - box.left - box.width / 2) * ratio, (event.clientY - box.top - box.height / 2) * ratio];
  };
  const dragged = (event) => {
    const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
    const ratio = window.devicePixelRatio || 1;
    Object.assign(drag, { x: event.clientX, y: event.clientY });
    if (drag.moves) view.moveBy(x * ratio, y * ratio);
    else if (view.mode === "slider") setSplit(view.split + x / canvas.clientWidth);
    else {
      view.window = Math.min(Math.max(view.window + x, 1), TOP);
      view.level = Math.min(Math.max(view.level + y / 2, 0), TOP);
      changed();
    }
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") fingers.set(event.pointerId, event);
    const isTouchInside = event.pointerType === "touch" && view.zoom !== null;
    drag = { x: event.clientX, y: event.clientY, moves: event.shiftKey || event.button > 0 || isTouchInside };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (fingers.has(event.pointerId) && pinched(view, fingers, event, fromCentre, changed)) drag = null;
    if (drag) dragged(event);
    const box = canvas.getBoundingClientRect();
    readOut(view.describePixel(event.clientX - box.left, event.clientY - box.top));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      fingers.delete(event.pointerId);
      drag = null;
    });
  }
  canvas.addEventListener("pointerleave", () => readOut(""));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!view.pictures.length || (view.zoom === null && event.deltaY > 0)) return; // the page scrolls on
      event.preventDefault();
      view.zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, fromCentre(event));
      changed();
    },
    { passive: false }
  );
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const [x, y] = arrows[event.key] || [];
    if (KEYS[event.key]) act(KEYS[event.key]);
    else if (x === undefined) return;
    else if (event.shiftKey) view.moveBy(-x * STEP, -y * STEP);
    else if (x) step(x);
    else {
      view.level = Math.min(Math.max(view.level + 5 * y, 0), TOP); // a lower level makes the picture brighter
      changed();
    }
    event.preventDefault();
  });
}
