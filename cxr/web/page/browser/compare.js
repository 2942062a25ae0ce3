// Two pictures: which, how, and the twin that differs from a picture in one thing.
const MODES = { difference: "as a difference", slider: "under a slider", side: "side by side" };
const TWINS = {
  region: "With / without finding, only there",
  finding: "With / without finding",
  age: "Another age",
  sex: "The other sex",
  lora: "With / without LoRA",
};
// What differs between the settings of two pictures only because one was made around the other.
const OF_REGION = ["mask_cells", "surrounding_prompt"];

// Names of the settings that are not the same in all of these.
function settingsThatDiffer([first, ...others]) {
  const unsaid = ["num_images", ...OF_REGION];
  const names = new Set([first, ...others].flatMap(Object.keys));
  return [...names].filter((name) => !unsaid.includes(name) && others.some((other) => other[name] !== first[name]));
}

// One setting and its value, in the words of the form.
function said(name, value) {
  return `${props.labels[name] ?? name.replaceAll("_", " ")} ${value === "" || value === undefined ? "none" : short(String(value), 44)}`;
}

function differencesOf(first, second) {
  const names = settingsThatDiffer([first.settings, second.settings]);
  return names.map((name) => (name === "prompt" ? short(second.prompt, 44) : said(name, second.settings[name])));
}

// Those of the same seed come first: what differs between them is what was asked, not chance.
function partnersOf(item, items) {
  const others = items.filter((other) => other !== item);
  return others.sort((one, other) => (other.seed === item.seed) - (one.seed === item.seed));
}

function showCompare(box, { item, items, other, mode, choose, makeTwin }) {
  const options = partnersOf(item, items).map((one) => {
    const what = differencesOf(item, one).join(", ") || short(one.prompt, 44);
    return node("option", { value: one.id, selected: one === other }, one.seed === item.seed ? `Same seed: ${what}` : `Seed ${one.seed}: ${short(one.prompt, 44)}`);
  });
  const partner = node(
    "select",
    { "aria-label": "Compare with", disabled: !options.length, onchange: (event) => choose(event.target.value, mode) },
    node("option", { value: "" }, options.length ? "No other picture" : "No other picture yet"),
    ...options
  );
  const ways = Object.entries(MODES).map(([name, label]) => node("option", { value: name, selected: name === mode }, label));
  const way = node("select", { "aria-label": "How to compare", disabled: !other, onchange: (event) => choose(other.id, event.target.value) }, ...ways);
  const twins = Object.entries(TWINS)
    .filter(([kind]) => kind !== "lora" || item.adapter !== "none")
    .map(([kind, label]) => node("button", { type: "button", onclick: () => makeTwin(kind) }, label));
  box.replaceChildren(
    node("h3", {}, "Compare"),
    node("div", { class: "cxr-actions" }, partner, way),
    node("p", { class: "cxr-hint" }, "Make the same seed again and see what one change does:"),
    node("div", { class: "cxr-actions" }, ...twins)
  );
}

function legendOf(view, mode) {
  if (mode !== "difference") return "";
  const { peak, mean } = view.difference;
  return `Blue: A is brighter. Orange: B is brighter. Largest difference ${peak} of 255 grey levels, mean ${mean.toFixed(1)}.`;
}
