// What gradio says otherwise than it is: every message about a mistake is called "Error", whatever title it was given, its
// page about the API has a part on MCP also where there is no such server, and a picture is a button without a name.
const isServer = Boolean(window.gradio_config?.mcp_server);
new MutationObserver(() => {
  for (const title of document.querySelectorAll(".toast-title")) {
    if (title.textContent.trim() === "Error") title.textContent = "That did not work";
  }
  for (const part of isServer ? [] : document.querySelectorAll("li, button")) {
    if (part.textContent.trim() === "MCP") part.hidden = true;
  }
  for (const button of document.querySelectorAll("#samples button:not([aria-label])")) {
    button.setAttribute("aria-label", "Some images of each finding");
  }
}).observe(document.body, { childList: true, subtree: true });
