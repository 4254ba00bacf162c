// Turns dropped and pasted data into images.

// The distinct lines of a text, without comments.
export function lines(pasted) {
  const all = pasted.split(/\r?\n/).map((line) => line.trim());
  return [...new Set(all.filter((line) => line && !line.startsWith("#")))];
}

export const pastedUrls = (pasted) => lines(pasted).map((url) => ({ url }));

// Some systems do not know the type of newer formats.
export const isImage = ({ type, name }) => type.startsWith("image/") || /\.(hei[cf]|avif)$/i.test(name);

// The dropped files, and the image files in dropped folders.
export async function droppedFiles(transfer) {
  // The browser empties transfer.items after the first await.
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  return (await Promise.all(entries.map((entry) => (entry instanceof File ? [entry] : filesOf(entry, false))))).flat();
}

async function filesOf(entry, inFolder) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return !inFolder || isImage(file) ? [file] : [];
  }
  const reader = entry.createReader();
  const found = [];
  for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length; ) {
    found.push(...some); // readEntries returns at most 100 entries per call
  }
  return (await Promise.all(found.map((child) => filesOf(child, true)))).flat();
}

// A drawing of this page as a file. The service takes no SVG.
export function drawingAsFile(image) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 960, height: 720 });
  canvas.getContext("2d").drawImage(image, 0, 0, 960, 720);
  const name = image.src.replace(/.*\/(\w+)\.svg$/, "$1.png");
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(new File([blob], name))));
}
