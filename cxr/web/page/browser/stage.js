// The stage: takes the news of jobs, keeps all pictures of this page, and shows one or two of them.
const find = (selector) => element.querySelector(selector);
const view = new GreyView(find("canvas"));
const items = [];
const state = { job: "", item: null, other: null, mode: "difference", isFollowing: true, twinOf: null, shown: 0 };
const kept = new RecipeHistory(find(".cxr-history div"), (settings) => trigger("make", { settings }));

async function pictureOf(item) {
  item.picture ??= loadGrey(item.file.url);
  return item.picture;
}

function select(item) {
  Object.assign(state, { item, other: null, isFollowing: item === items.at(-1) });
  return redraw();
}

async function redraw() {
  const turn = ++state.shown; // what was asked for last is shown, however long a picture takes
  const { item, other, mode } = state;
  const pictures = await Promise.all([item, other].filter(Boolean).map(pictureOf));
  if (turn !== state.shown) return;
  view.show(other ? mode : "single", ...pictures);
  nameCanvas();
  drawTiles();
  drawSides();
  updateTools();
}

function nameCanvas() {
  const { item, other, mode } = state;
  const label = other ? `${MODES[mode]}: A, ${describeItem(item)}; B, ${describeItem(other)}. ${legendOf(view, mode)}` : describeItem(item);
  view.canvas.setAttribute("aria-label", label);
  find(".cxr-empty").hidden = true;
  find(".cxr-legend").textContent = other ? legendOf(view, mode) : "";
  find(".cxr-split").hidden = !(other && mode === "slider");
  [item, other].forEach((one, at) => {
    find(`[data-name="${at}"]`).textContent = other ? `${"AB"[at]} · seed ${one.seed} · ${one.prompt}` : "";
  });
}

function drawTiles() {
  const list = find(".cxr-results ul");
  const focused = document.activeElement?.dataset?.id;
  find(".cxr-results h2").hidden = !items.length;
  const show = (item) => () => {
    lookAtPicture();
    select(item);
  };
  list.replaceChildren(...items.map((item) => tileOf(item, items, item === state.item, show(item))).reverse());
  if (focused) list.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
}

function drawSides() {
  const { item, other, mode } = state;
  const variations = { settings: { ...item.settings, num_images: 4 }, randomise: true };
  showDetails(find(".cxr-about-picture"), item, {
    "Download DICOM": () => trigger("dicom", { path: item.file.path }),
    "Use this seed": () => trigger("seed", { seed: item.seed }),
    "Use all settings": () => trigger("fill", { settings: item.settings }),
    Variations: () => trigger("make", variations),
    "Start from this picture": () => trigger("begin", { path: item.file.path }),
    "Copy link": ({ currentTarget }) => copyLink(linkTo(item.settings), currentTarget),
  }, props.footnote);
  showCompare(find(".cxr-compare"), { item, items, other, mode, choose, makeTwin });
}

// On a phone the picture lies above what is pressed.
function lookAtPicture() {
  find(".cxr-canvas").scrollIntoView({ block: "nearest" });
}

function choose(id, mode) {
  lookAtPicture();
  Object.assign(state, { other: items.find((item) => item.id === id) || null, mode, isFollowing: false });
  redraw();
}

function makeTwin(kind) {
  lookAtPicture();
  state.twinOf = state.item;
  trigger("twin", { settings: state.item.settings, twin: kind });
}

function star(item) {
  item.isStarred = !item.isStarred;
  kept.add(item);
  redraw();
}

function keep(job, image) {
  const id = `${job}/${image.seed}`;
  const known = items.find((item) => item.id === id);
  if (known) return Object.assign(known, image);
  const item = { ...image, id, isStarred: kept.isStarred(id) };
  item.star = () => star(item);
  items.push(item);
  kept.add(item);
  return item;
}

async function showForming(forming) {
  const turn = ++state.shown;
  const picture = await loadGrey(forming.url);
  if (turn !== state.shown) return;
  find(".cxr-empty").hidden = true;
  view.canvas.setAttribute("aria-label", `Picture with seed ${forming.seed}, still forming`);
  view.show("single", picture);
}

async function takeNews() {
  const news = props.value;
  if (!news || !news.job) return;
  if (news.job !== state.job) Object.assign(state, { job: news.job, isFollowing: true });
  const before = items.length;
  news.images.forEach((image) => keep(news.job, image));
  const newest = items.at(-1);
  const hasNew = items.length > before;
  if (hasNew) drawTiles();
  if (hasNew && state.twinOf && newest.seed === state.twinOf.seed) { // others may have been asked for before it
    Object.assign(state, { item: state.twinOf, other: newest, twinOf: null, isFollowing: false });
    await redraw();
  } else if (state.isFollowing && news.forming) await showForming(news.forming);
  else if (state.isFollowing && newest) await select(newest);
  else if (state.item && (hasNew || news.is_over)) await redraw();
}

function updateTools() {
  const presses = { fit: view.zoom === null, real: view.zoom === 1, invert: view.isInverted };
  for (const [name, isOn] of Object.entries(presses)) find(`[data-do="${name}"]`).setAttribute("aria-pressed", isOn);
  for (const slider of element.querySelectorAll("[data-grey]")) slider.value = view[slider.dataset.grey];
  view.canvas.style.touchAction = view.zoom === null ? "pan-y" : "none";
  view.draw();
}

function act(name) {
  const acts = {
    fit: () => (view.zoom = null),
    real: () => Object.assign(view, { zoom: 1, pan: [0, 0] }),
    in: () => view.zoomBy(1.25),
    out: () => view.zoomBy(0.8),
    invert: () => (view.isInverted = !view.isInverted),
    reset: () => view.reset(),
  };
  acts[name]();
  updateTools();
}

function setSplit(share) {
  view.split = Math.min(Math.max(share, 0), 1);
  find(".cxr-split").value = 100 * view.split;
  view.draw();
}

element.addEventListener("click", (event) => event.target.dataset?.do && act(event.target.dataset.do));
element.addEventListener("input", ({ target }) => {
  if (target.dataset.grey) view[target.dataset.grey] = Number(target.value);
  if (target.matches(".cxr-split")) view.split = Number(target.value) / 100;
  view.draw();
});
addGestures(view, {
  act,
  step: (by) => items.length && select(items[(items.indexOf(state.item) + by + items.length) % items.length]),
  changed: updateTools,
  setSplit,
  readOut: (text) => (find(".cxr-readout").textContent = text),
});
watch("value", takeNews);
const asked = settingsOfAddress();
if (asked) setTimeout(() => trigger("fill", { settings: asked }), 0); // nothing starts by itself
setTimeout(followTabs, 0);
