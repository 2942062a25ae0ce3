// Gradio calls every message about a mistake "Error", whatever title it was given.
new MutationObserver(() => {
  for (const title of document.querySelectorAll(".toast-title")) {
    if (title.textContent.trim() === "Error") title.textContent = "That did not work";
  }
}).observe(document.body, { childList: true, subtree: true });
