// Downloads of the results, in the same formats as `birds classify`.

const COLUMNS = ["image", "rank", "bird_name", "common_name", "score", "code", "message", "model_version"];

export function downloadJson(records) {
  download("birds.json", "application/json", JSON.stringify(records, null, 1));
}

export function downloadCsv(records) {
  const rows = records.flatMap(({ image, model_version, predictions, failure }) =>
    failure ? [{ image, ...failure }] : predictions.map((prediction, index) => ({ image, rank: index + 1, ...prediction, model_version })),
  );
  const lines = [COLUMNS, ...rows.map((row) => COLUMNS.map((column) => row[column] ?? ""))];
  download("birds.csv", "text/csv", lines.map((line) => `${line.map(quoted).join(",")}\n`).join(""));
}

function quoted(value) {
  const text = harmless(value);
  return /[",\r\n]/.test(text) ? `"${String(text).replaceAll('"', '""')}"` : text;
}

// A spreadsheet would run a text that begins like a formula. tools/cli/formats.py does the same.
function harmless(value) {
  return typeof value === "string" && /^[=+\-@\t\r\n＝＋－＠]./s.test(value) ? `'${value}` : value;
}

function download(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
