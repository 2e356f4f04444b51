// Small things about elements and words. What is not different is not touched: a screen reader would say it again.

export const $ = (id) => document.getElementById(id);

export const copyOf = (id) => $(id).content.cloneNode(true);

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

// Says `text` in an element that is there only while there is something to say.
export function say(element, text) {
  put(element, text || "");
  show(element, Boolean(text));
}

export const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

export const time = (utc_ns) => new Date(utc_ns / 1e6).toLocaleTimeString();

export const memory = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

// So many digits that a number that changes a little stays as wide as it was.
export function number(value) {
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(Math.abs(value) < 10 ? 3 : 1);
}
