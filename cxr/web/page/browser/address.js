// The fragment of the address, which no server ever gets: settings of a picture, and the tab that is open.
function linkTo(settings) {
  const values = Object.entries(settings).filter(([name, value]) => name !== "num_images" && value !== "");
  return `${location.href.split("#")[0]}#${new URLSearchParams(values)}`;
}

// Browsers give pages without HTTPS no clipboard; then the link goes where it can be copied from.
async function copyLink(link, button) {
  try {
    await navigator.clipboard.writeText(link);
    button.textContent = "Link copied";
  } catch {
    history.replaceState(null, "", link);
    button.textContent = "The link is in the address bar";
  }
}

function settingsOfAddress() {
  const values = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (values.prompt === undefined && values.seed === undefined) return null;
  const read = (name, text) => {
    if (name.endsWith("prompt") || name === "init_image_sha256" || name === "mask_cells") return text;
    if (text === "true" || text === "false") return text === "true";
    return text.trim() && Number.isFinite(Number(text)) ? Number(text) : text; // what is no number is named as it stands
  };
  return Object.fromEntries(Object.entries(values).map(([name, text]) => [name, read(name, text)]));
}

// Each tab has an address of its own, so that Back goes to the tab before and not off the page.
function followTabs() {
  const tabs = () => [...document.querySelectorAll("#tabs [role=tab]")];
  const nameOf = (tab) => tab.textContent.trim().toLowerCase().replaceAll(" ", "-");
  const open = () => {
    const name = new URLSearchParams(location.hash.slice(1)).get("tab") || "images";
    tabs().find((tab) => nameOf(tab) === name && tab.getAttribute("aria-selected") !== "true")?.click();
  };
  document.addEventListener("click", (event) => {
    const tab = event.target.closest?.("#tabs [role=tab]");
    const isNew = tab && (new URLSearchParams(location.hash.slice(1)).get("tab") || "images") !== nameOf(tab);
    if (isNew && event.isTrusted) history.pushState(null, "", `#tab=${nameOf(tab)}`);
  });
  window.addEventListener("popstate", open);
  open();
}
