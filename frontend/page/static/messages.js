// What the server put into the page: its limits, and the sentences of the reader's language.

const data = JSON.parse(document.getElementById("page-data").textContent);
const plural = new Intl.PluralRules(data.language);

export const limits = data;

// The sentence under a key. One that depends on a number is {placeholder: {category: text}}, as in the catalogues.
export function text(key, values = {}) {
  let sentence = data.messages[key];
  if (typeof sentence === "object") {
    const [[counted, forms]] = Object.entries(sentence);
    sentence = forms[plural.select(values[counted])];
  }
  return sentence.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const percent = new Intl.NumberFormat(data.language, { style: "percent" });
