// The picture that images begin from, and the region that is painted over it, in cells.
const find = (selector) => element.querySelector(selector);
const canvas = find("canvas");
const context = canvas.getContext("2d");
const SIDE = props.cells;
const MOST = 4; // pictures that one may go back to; as many as the server keeps for this page
const pictures = new Map(); // by hash, the newest last
const state = { painted: new Set(), cursor: 0, paints: null };

// Rows of cells with their columns, as "4:10-13 5:9"; the server writes and reads them in the same way.
function readCells(text) {
  const cells = new Set();
  for (const word of text.split(" ").filter(Boolean)) {
    const [row, runs] = word.split(":");
    for (const run of runs.split(",")) {
      const [first, last] = run.split("-").map(Number);
      for (let column = first; column <= (last ?? first); column++) cells.add(Number(row) * SIDE + column);
    }
  }
  return cells;
}

function writeCells(cells) {
  const rows = [];
  for (let row = 0; row < SIDE; row++) {
    const runs = [];
    for (let column = 0; column < SIDE; column++) {
      if (!cells.has(row * SIDE + column)) continue;
      const run = runs.at(-1);
      if (run && run[1] === column - 1) run[1] = column;
      else runs.push([column, column]);
    }
    if (runs.length) rows.push(`${row}:${runs.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(",")}`);
  }
  return rows.join(" ");
}

const isHere = () => pictures.has(props.value.sha256);
const shown = () => pictures.get(props.value.sha256 || [...pictures.keys()].at(-1));

function draw() {
  const size = canvas.width / SIDE;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (shown()) context.drawImage(shown(), 0, 0, canvas.width, canvas.height);
  context.strokeStyle = "rgba(255, 255, 255, 0.16)";
  context.lineWidth = 1;
  for (let line = 1; line < SIDE; line++) {
    context.strokeRect(line * size, -1, 0, canvas.height + 2);
    context.strokeRect(-1, line * size, canvas.width + 2, 0);
  }
  for (const cell of state.painted) {
    const [x, y] = [(cell % SIDE) * size, Math.floor(cell / SIDE) * size];
    context.fillStyle = "rgba(69, 184, 179, 0.42)";
    context.fillRect(x, y, size, size);
    context.strokeStyle = "rgb(95, 208, 202)";
    context.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
  }
  if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
    context.strokeStyle = "rgb(255, 220, 90)";
    context.lineWidth = 3;
    context.strokeRect((state.cursor % SIDE) * size + 1.5, Math.floor(state.cursor / SIDE) * size + 1.5, size - 3, size - 3);
  }
}

function sayState() {
  const { sha256, around } = props.value;
  const count = state.painted.size;
  const region = count ? `${count} of ${SIDE * SIDE} cells are made anew` : "all of it is made anew";
  const texts = {
    none: "Choose a file, or press “Start from this picture” beside a result.",
    missing: `These settings need the picture with hash ${sha256.slice(0, 12)}…: choose that file.`,
    around: `Only ${count} of ${SIDE * SIDE} cells are made as asked. Around them lies the picture of “${around}”, of the same seed.`,
    idle: "This picture is not in use: images begin from noise alone.",
    used: `Images begin from this picture; ${region}. They will say that they are derived from a picture.`,
  };
  const key = sha256 ? (isHere() ? "used" : "missing") : around ? "around" : pictures.size ? "idle" : "none";
  find('[data-say="state"]').textContent = texts[key];
  find('[data-say="state"]').classList.toggle("cxr-warning", key === "missing");
  canvas.setAttribute("aria-label", `Region to make anew, a grid of ${SIDE} by ${SIDE} cells over the picture: ${region}`);
  canvas.hidden = ["none", "missing", "around"].includes(key);
  canvas.classList.toggle("cxr-unused", key !== "used");
  find('[data-say="keys"]').hidden = key !== "used";
  find(".cxr-actions").hidden = key === "none";
  find('[data-do="clear"]').disabled = key !== "used" || !count;
  find('[data-do="use"]').textContent = { idle: "Use this picture", around: "Make whole pictures" }[key] || "Begin from noise alone";
}

async function show() {
  state.painted = readCells(props.value.cells);
  const { sha256, url } = props.picture;
  if (url && [...pictures.keys()].at(-1) !== sha256 && state.last !== url) {
    state.last = url;
    const image = new Image();
    image.src = url;
    await image.decode();
    pictures.delete(sha256);
    pictures.set(sha256, image);
    if (pictures.size > MOST) pictures.delete(pictures.keys().next().value);
  }
  sayState();
  draw();
}

function keep(value) {
  props.value = { ...props.value, ...value };
  show();
}

function paint(cell, isPainted) {
  if (!isHere() || state.painted.has(cell) === isPainted) return;
  const painted = new Set(state.painted);
  if (isPainted) painted.add(cell);
  else painted.delete(cell);
  keep({ cells: writeCells(painted) });
}

function sayCell() {
  const [row, column] = [Math.floor(state.cursor / SIDE) + 1, (state.cursor % SIDE) + 1];
  find('[data-say="cell"]').textContent = `Row ${row}, column ${column}: ${state.painted.has(state.cursor) ? "made anew" : "stays"}`;
}

function cellAt(event) {
  const box = canvas.getBoundingClientRect();
  const place = (at, length) => Math.min(Math.max(Math.floor((at / length) * SIDE), 0), SIDE - 1);
  return place(event.clientY - box.top, box.height) * SIDE + place(event.clientX - box.left, box.width);
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button > 0) return;
  const cell = cellAt(event);
  Object.assign(state, { cursor: cell, paints: !state.painted.has(cell) });
  canvas.setPointerCapture(event.pointerId);
  paint(cell, state.paints);
});
canvas.addEventListener("pointermove", (event) => {
  if (state.paints !== null) paint((state.cursor = cellAt(event)), state.paints);
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (state.paints = null));
canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] || [];
  if (x !== undefined) {
    const [row, column] = [Math.floor(state.cursor / SIDE) + y, (state.cursor % SIDE) + x];
    if (row >= 0 && row < SIDE && column >= 0 && column < SIDE) state.cursor = row * SIDE + column;
  } else if (event.key === " " || event.key === "Enter") paint(state.cursor, !state.painted.has(state.cursor));
  else if (event.key === "Delete") keep({ cells: "" });
  else return;
  event.preventDefault();
  draw();
  sayCell();
});
for (const name of ["focus", "blur"]) canvas.addEventListener(name, draw);
element.addEventListener("click", (event) => {
  const what = event.target.dataset?.do;
  if (what === "clear") keep({ cells: "" });
  if (what !== "use") return;
  const isIdle = !props.value.sha256 && !props.value.around;
  keep(isIdle ? { sha256: [...pictures.keys()].at(-1) } : { sha256: "", cells: "", around: "" });
  trigger("change");
});
watch(["value", "picture"], show);
show();
