// The results as files, in the formats of `birds classify`, and as rows for the clipboard.

import { text } from "./messages.js";

const COLUMNS = ["image", "rank", "bird_name", "common_name", "score", "answer", "code", "message", "model_version"];

export const downloadJson = (cards) => download("birds.json", "application/json", JSON.stringify(cards.map(recordOf), null, 1));

// Spreadsheets take the text for UTF-8 only with the byte order mark.
export const downloadCsv = (cards) => download("birds.csv", "text/csv", `\ufeff${rows(cards).map((row) => `${row.map(quoted).join(",")}\n`).join("")}`);

// Copy a table that can be pasted into a spreadsheet.
export async function copy(cards) {
  const table = rows(cards).map((row) => row.map((cell) => String(cell).replace(/\s/g, " ")).join("\t")).join("\n");
  if (navigator.clipboard) return navigator.clipboard.writeText(table);
  const area = document.querySelector("#saving").appendChild(document.createElement("textarea")); // without HTTPS there is no clipboard API
  area.value = table;
  area.select();
  document.execCommand("copy");
  return area.remove();
}

function recordOf({ name, state, version, predictions, failure }) {
  if (!predictions) return { image: name, failure: failure ?? { code: state, message: text(state) } };
  return { image: name, model_version: version, predictions, ...(state === "no_bird" && { no_bird: true }) };
}

// One row for each prediction. An image without predictions has one row.
function rows(cards) {
  const found = cards.flatMap((card) => {
    const { image, model_version, predictions, failure } = recordOf(card);
    const shared = { image, answer: card.state, model_version, ...failure };
    return predictions?.length ? predictions.map((prediction, index) => ({ ...shared, rank: index + 1, ...prediction })) : [shared];
  });
  return [COLUMNS, ...found.map((row) => COLUMNS.map((column) => harmless(row[column] ?? "")))];
}

// A spreadsheet would run a text that begins like a formula. tools/cli/formats.py does the same.
function harmless(cell) {
  return typeof cell === "string" && /^[=+\-@\t\r\n＝＋－＠]./s.test(cell) ? `'${cell}` : cell;
}

function quoted(cell) {
  return /[",\r\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : cell;
}

function download(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
