// What stands beside the picture, the tiles below it, and how both are named for who does not see them.
const SIGNS = new Map([[true, ["cxr-yes", "✓", "as asked"]], [false, ["cxr-no", "✗", "not as asked"]]]);

function verdictOf(item) {
  const [right, judged] = item.as_asked;
  return judged ? `${right} of ${judged} judged as asked` : "";
}

// What tells a picture from others of its seed and prompt: the settings that differ among these.
function differsBy(item, items) {
  const alike = items.filter((one) => one.seed === item.seed && one.prompt === item.prompt);
  return alike.length > 1 ? settingsThatDiffer(alike.map((one) => one.settings)).map((name) => said(name, item.settings[name])) : [];
}

// The alternative text: what was asked for, and what is seen in it.
function describeItem(item) {
  const seen = item.rows.filter((row) => row.asked !== "not said" && row.seen !== "not judgeable");
  const lines = seen.map((row) => `${row.label}: asked ${row.asked}, seen ${row.seen}`);
  const derived = item.derived ? [item.derived.replace(/[.]$/, "")] : [];
  return [`Synthetic chest radiograph, seed ${item.seed}: ${item.prompt}`, ...derived, ...lines].join(". ");
}

function receiptRow(row) {
  const [tone, sign, meaning] = SIGNS.get(row.verdict) || ["", "", ""];
  const mark = sign ? [node("span", { role: "img", "aria-label": meaning }, sign), " "] : [];
  const score = row.score ? [" ", node("small", {}, row.score)] : [];
  return node(
    "tr",
    {},
    node("th", { scope: "row" }, row.label),
    node("td", {}, row.asked),
    node("td", { class: tone }, ...mark, row.seen, ...score),
    node("td", {}, row.ceiling)
  );
}

function receiptTable(item, footnote) {
  if (!item.rows.length) return item.notes.map((note) => node("p", { class: "cxr-hint" }, note));
  const head = ["Label", "Asked", "Seen", "Right on real"].map((name) => node("th", { scope: "col" }, name));
  return [
    node(
      "div",
      { class: "cxr-scroll", role: "region", "aria-label": "Asked against seen", tabindex: 0 },
      node("table", {}, node("thead", {}, node("tr", {}, ...head)), node("tbody", {}, ...item.rows.map(receiptRow)))
    ),
    ...item.notes.map((note) => node("p", { class: "cxr-hint" }, note)),
    node("p", { class: "cxr-hint cxr-small" }, footnote),
  ];
}

function showDetails(box, item, actions, footnote) {
  const buttons = Object.entries(actions).map(([label, act]) => node("button", { type: "button", onclick: act }, label));
  const star = node(
    "button",
    { type: "button", "aria-pressed": String(item.isStarred), onclick: () => item.star() },
    `${item.isStarred ? "★" : "☆"} Star`
  );
  const download = node("a", { class: "cxr-button", href: item.file.url, download: item.file.orig_name }, "Download PNG");
  box.replaceChildren(
    node("h2", {}, `Seed ${item.seed}`),
    node("p", { class: "cxr-prompt" }, item.prompt),
    ...(item.sent ? [node("p", { class: "cxr-hint" }, `Sent to the model: “${item.sent}”`)] : []),
    ...(item.derived ? [node("p", { class: "cxr-hint cxr-warning" }, item.derived)] : []),
    node("div", { class: "cxr-actions" }, download, ...buttons, star),
    ...receiptTable(item, footnote)
  );
}

function tileOf(item, items, isSelected, select) {
  const caption = `${item.isStarred ? "★ " : ""}Seed ${item.seed}`;
  return node(
    "li",
    {},
    node(
      "button",
      { type: "button", "aria-current": isSelected && "true", "data-id": item.id, onclick: select },
      node("img", { src: item.file.url, alt: "", loading: "lazy" }),
      node("span", {}, node("b", {}, caption), " ", [verdictOf(item), ...differsBy(item, items)].filter(Boolean).join(" · ")),
      node("span", { class: "cxr-tile-prompt" }, item.prompt)
    )
  );
}
