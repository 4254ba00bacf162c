// The results as files, in the formats of `birds classify`, and as rows for the clipboard.

const COLUMNS = ["image", "rank", "bird_name", "common_name", "score", "code", "message", "model_version"];

export const downloadJson = (records) => download("birds.json", "application/json", JSON.stringify(records, null, 1));

// Spreadsheets take the text for UTF-8 only with the byte order mark.
export const downloadCsv = (records) => download("birds.csv", "text/csv", `\ufeff${rows(records).map((row) => `${row.map(quoted).join(",")}\n`).join("")}`);

// Copy a table that can be pasted into a spreadsheet.
export async function copy(records) {
  const table = rows(records).map((row) => row.map((cell) => String(cell).replace(/\s/g, " ")).join("\t")).join("\n");
  if (navigator.clipboard) return navigator.clipboard.writeText(table);
  const area = document.body.appendChild(document.createElement("textarea")); // without HTTPS there is no clipboard API
  area.value = table;
  area.select();
  document.execCommand("copy");
  return area.remove();
}

function rows(records) {
  const found = records.flatMap(({ image, model_version, predictions, failure }) =>
    failure ? [{ image, ...failure }] : predictions.map((prediction, index) => ({ image, rank: index + 1, ...prediction, model_version })),
  );
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
