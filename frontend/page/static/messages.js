// Data that the server puts into the page: its limits, and the messages in the reader's language.

export const data = JSON.parse(document.getElementById("page-data").textContent);
const plural = new Intl.PluralRules(data.language);
const share = new Intl.NumberFormat(data.language, { style: "percent" });

// The message for a key. If it depends on a number, it is {placeholder: {category: text}}, as in the catalogues.
export function text(key, values = {}) {
  let message = data.messages[key];
  if (typeof message === "object") {
    const [[counted, forms]] = Object.entries(message);
    message = forms[plural.select(values[counted])];
  }
  return message.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const percent = (score) => (score > 0 && score < 0.005 ? `<${share.format(0.01)}` : share.format(score));
