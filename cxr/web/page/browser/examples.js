// The strip under the prompt: each picture is a button that makes it.
element.querySelector("ul").replaceChildren(
  ...(props.value || []).map((example) =>
    node(
      "li",
      {},
      node(
        "button",
        { type: "button", title: example.caption, onclick: () => trigger("make", { settings: example.settings }) },
        node("img", { src: example.file.url, alt: "", loading: "lazy", width: 64, height: 64 }),
        node("span", {}, example.caption)
      )
    )
  )
);
