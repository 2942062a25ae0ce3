// Recipes of what was made, in this browser and only if the visitor wants that: no pictures, and nothing at the server.
const STORE = "cxr-studio-history";
const MAX_KEPT = 500;

// The recipe in a line of a file; null if there is none.
function entryOf(line) {
  try {
    const entry = JSON.parse(line);
    return isEntry(entry) ? entry : null;
  } catch {
    return null;
  }
}

function isEntry(entry) {
  const { id, settings } = entry ?? {};
  return typeof id === "string" && typeof settings?.prompt === "string" && Number.isSafeInteger(settings.seed);
}

class RecipeHistory {
  constructor(box, make) {
    Object.assign(this, { box, make });
    this.entries = this.read();
    this.draw();
  }

  read() {
    try {
      const entries = JSON.parse(localStorage.getItem(STORE));
      return Array.isArray(entries) ? entries.filter(isEntry) : null;
    } catch {
      return null; // somebody else's text, or storage is switched off
    }
  }

  write() {
    try {
      if (this.entries) localStorage.setItem(STORE, JSON.stringify(this.entries));
      else localStorage.removeItem(STORE);
    } catch {
      this.entries = null;
      this.said = "This browser has no room for the history, or does not let pages keep anything.";
    }
    this.draw();
  }

  add(item) {
    if (!this.entries) return;
    const entry = { id: item.id, settings: item.settings, model: item.model, adapter: item.adapter, starred: item.isStarred };
    this.keep([entry, ...this.entries.filter((one) => one.id !== item.id)]);
  }

  // The newest so many, and of older ones those with a star first.
  keep(entries, ...notes) {
    const stars = entries.filter((entry) => entry.starred).slice(0, MAX_KEPT);
    const others = entries.filter((entry) => !entry.starred).slice(0, MAX_KEPT - stars.length);
    this.entries = entries.filter((entry) => stars.includes(entry) || others.includes(entry));
    const left = entries.length - this.entries.length;
    this.said = [...notes, left && `The oldest ${left === 1 ? "recipe was" : `${left} recipes were`} left out: ${MAX_KEPT} are kept.`].filter(Boolean).join(" ");
    this.write();
  }

  isStarred(id) {
    return Boolean(this.entries?.find((entry) => entry.id === id)?.starred);
  }

  save() {
    const lines = this.entries.map((entry) => `${JSON.stringify(entry)}\n`);
    const url = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
    node("a", { href: url, download: "cxr-studio-history.jsonl" }).click();
    URL.revokeObjectURL(url);
  }

  async load(file) {
    const lines = (await file.text()).split("\n").filter((line) => line.trim());
    const known = new Set(this.entries.map((entry) => entry.id));
    const read = lines.map(entryOf).filter(Boolean);
    const added = read.filter((entry) => !known.has(entry.id) && known.add(entry.id));
    const wrong = lines.length - read.length;
    this.keep(
      [...this.entries, ...added],
      `${added.length} of ${lines.length} recipes added.`,
      wrong && `${wrong === 1 ? "One line is" : `${wrong} lines are`} not a recipe of this page.`,
      read.length > added.length && "The others were here already."
    );
  }

  draw() {
    const isOn = Boolean(this.entries);
    const choice = node("input", { type: "checkbox", checked: isOn, onchange: (event) => {
      Object.assign(this, { entries: event.target.checked ? [] : null, said: "" });
      this.write();
    } });
    const rows = (this.entries || []).map((entry) =>
      node("li", {}, node("button", { type: "button", title: "Make it again", onclick: () => this.make(entry.settings) },
        `${entry.starred ? "★ " : ""}Seed ${entry.settings.seed}: ${short(entry.settings.prompt, 70)}`))
    );
    this.box.replaceChildren(
      node("label", {}, choice, " Keep my recipes in this browser"),
      node("p", { class: "cxr-hint", role: "status" }, this.said || "Prompts and settings only, no pictures; a click makes a picture again. Switched off, all are deleted."),
      ...(isOn ? [this.buttons(), node("ul", { class: "cxr-list" }, ...rows)] : [])
    );
  }

  buttons() {
    const file = node("input", { type: "file", accept: ".jsonl", "aria-label": "Import a history", onchange: (event) => this.load(event.target.files[0]) });
    const clear = () => this.keep([]);
    return node("div", { class: "cxr-actions" },
      node("button", { type: "button", onclick: () => this.save() }, "Export"),
      node("button", { type: "button", onclick: clear }, "Clear"),
      node("label", { class: "cxr-file" }, "Import", file));
  }
}
