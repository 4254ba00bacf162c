// Requests to the service. The answer to a classification arrives line by line.
// All addresses are relative to the page, because a proxy may serve it below a path.

const SHOWN_CHARACTERS = 100; // of a URL that the service rejects without a download
const KEY = "birds-api-key"; // in sessionStorage, which the browser clears when the tab is closed

export const apiKey = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
};

// A request that failed as a whole. `status` is 0 if there was no answer.
export class ServiceError extends Error {
  constructor(status, message, retryAfterSeconds = 0) {
    super(message);
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

// The answer of GET `path`, or null if it fails.
export async function get(path) {
  try {
    const response = await fetch(path, { headers: authorization() });
    return response.ok ? await response.json() : null;
  } catch {
    return null; // classification will report the problem
  }
}

function authorization() {
  return apiKey.get() ? { Authorization: `Bearer ${apiKey.get()}` } : {};
}

// Classify `images`, which are all {url} or all {file}, with the `fields` of the API (k, min_score, …).
// `onLine(index, line)` is called for each image as soon as it is done, and `onUploaded(bytes)` while files are sent.
// Resolves after the last line; rejects with a ServiceError.
// This uses XMLHttpRequest because fetch does not report the progress of an upload.
export function classify(images, fields, { signal, onLine, onUploaded }) {
  const names = images.map(({ url }, index) => url ?? String(index));
  const request = new XMLHttpRequest();
  if (images[0].url) {
    request.open("POST", ".");
    request.setRequestHeader("Content-Type", "application/json");
  } else {
    const query = Object.entries(fields).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
    request.open("POST", `files?${new URLSearchParams(query)}`);
    request.upload.addEventListener("progress", (event) => onUploaded(event.loaded));
  }
  request.setRequestHeader("Accept", "application/x-ndjson");
  for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);

  return new Promise((resolve, reject) => {
    let read = 0;
    let totals = null;
    const takeLines = () => {
      if (request.status !== 200) return;
      for (let end; (end = request.responseText.indexOf("\n", read)) >= 0; read = end + 1) {
        const line = JSON.parse(request.responseText.slice(read, end));
        if (line.url === undefined) totals = line;
        else for (const index of indexesOf(line.url, names)) onLine(index, line);
      }
    };
    request.addEventListener("progress", takeLines);
    request.addEventListener("load", () => {
      takeLines();
      if (request.status !== 200 || totals === null) reject(refusal(request));
      else if (totals.errors.length) reject(new ServiceError(totals.status, totals.errors.join(". ")));
      else resolve();
    });
    request.addEventListener("error", () => reject(new ServiceError(0, "")));
    request.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(body(images, fields));
  });
}

// The images that a line is about. The service answers equal URLs once, and shows a URL that is too long, or image data
// in place of a URL, by its first characters.
function indexesOf(shown, names) {
  const isShown = names.includes(shown) ? (name) => name === shown : (name) => beginning(name) === shown;
  return names.flatMap((name, index) => (isShown(name) ? [index] : []));
}

// The first characters of the name; the service counts a pair of surrogates as one character.
function beginning(name) {
  return [...name.slice(0, 2 * SHOWN_CHARACTERS)].slice(0, SHOWN_CHARACTERS).join("");
}

function body(images, fields) {
  if (images[0].url) return JSON.stringify({ images: images.map((image) => image.url), ...fields });
  const form = new FormData();
  images.forEach((image, index) => form.append("files", image.file, String(index))); // numbers, because file names may be equal
  return form;
}

// The error of a request that was refused, or whose answer broke off. A refusal is one JSON object, also with status 200.
function refusal(request) {
  let { status } = request;
  let message = "";
  try {
    message = JSON.parse(request.responseText).errors.join(". ");
  } catch {
    if (status === 200) status = 0; // broken off; otherwise a proxy answered, with a page that is not shown
  }
  return new ServiceError(status, message, Number(request.getResponseHeader("Retry-After")) || 0);
}
