// Elements from plain values; text stays text, whatever a prompt says.
function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function short(text, most = 60) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
