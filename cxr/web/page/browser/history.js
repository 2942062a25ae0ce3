// Recipes of what was made, in this browser and only if the visitor wants that: no pictures, and nothing at the server.
const STORE = "cxr-studio-history";
const MOST = 500;

class RecipeHistory {
  constructor(box, make) {
    Object.assign(this, { box, make });
    this.entries = this.read();
    this.draw();
  }

  read() {
    try {
      const entries = JSON.parse(localStorage.getItem(STORE));
      return Array.isArray(entries) ? entries.filter((entry) => entry && entry.id && entry.settings) : null;
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
    }
    this.draw();
  }

  add(item) {
    if (!this.entries) return;
    const entry = { id: item.id, settings: item.settings, model: item.model, adapter: item.adapter, starred: item.isStarred };
    this.entries = [entry, ...this.entries.filter((one) => one.id !== item.id)].slice(0, MOST);
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
    const entries = [];
    for (const line of (await file.text()).split("\n").filter(Boolean)) {
      try {
        const entry = JSON.parse(line);
        if (typeof entry.id === "string" && entry.settings) entries.push(entry);
      } catch {
        this.said = "One line of the file is not JSON and was left out.";
      }
    }
    const known = new Set(this.entries.map((entry) => entry.id));
    this.entries = [...this.entries, ...entries.filter((entry) => !known.has(entry.id))].slice(0, MOST);
    this.write();
  }

  draw() {
    const isOn = Boolean(this.entries);
    const choice = node("input", { type: "checkbox", checked: isOn, onchange: (event) => {
      this.entries = event.target.checked ? [] : null;
      this.write();
    } });
    const rows = (this.entries || []).map((entry) =>
      node("li", {}, node("button", { type: "button", title: "Make it again", onclick: () => this.make(entry.settings) },
        `${entry.starred ? "★ " : ""}Seed ${entry.settings.seed}: ${short(String(entry.settings.prompt), 70)}`))
    );
    this.box.replaceChildren(
      node("label", {}, choice, " Keep my recipes in this browser"),
      node("p", { class: "cxr-hint" }, this.said || "Prompts and settings only, no pictures; a click makes a picture again. Switched off, all are deleted."),
      ...(isOn ? [this.buttons(), node("ul", { class: "cxr-list" }, ...rows)] : [])
    );
  }

  buttons() {
    const file = node("input", { type: "file", accept: ".jsonl", "aria-label": "Import a history", onchange: (event) => this.load(event.target.files[0]) });
    const clear = () => { this.entries = []; this.write(); };
    return node("div", { class: "cxr-actions" },
      node("button", { type: "button", onclick: () => this.save() }, "Export"),
      node("button", { type: "button", onclick: clear }, "Clear"),
      node("label", { class: "cxr-file" }, "Import ", file));
  }
}
