// Turns dropped and pasted data into images.

// The distinct lines of the text, without comments.
export function pastedUrls(pasted) {
  const lines = pasted.split(/\r?\n/).map((line) => line.trim());
  return [...new Set(lines.filter((line) => line && !line.startsWith("#")))].map((url) => ({ url }));
}

// The dropped files, and the image files in dropped folders.
export async function droppedFiles(transfer) {
  // The browser empties transfer.items after the first await.
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  return (await Promise.all(entries.map((entry) => (entry instanceof File ? [entry] : filesOf(entry, false))))).flat();
}

async function filesOf(entry, inFolder) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return !inFolder || file.type.startsWith("image/") ? [file] : [];
  }
  const reader = entry.createReader();
  const found = [];
  for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length; ) {
    found.push(...some); // readEntries returns at most 100 entries per call
  }
  return (await Promise.all(found.map((child) => filesOf(child, true)))).flat();
}
