// Talks to the service: one request, whose answer comes line by line.

const KEY = "birds-api-key"; // in sessionStorage: kept for this tab, forgotten with it

export const apiKey = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
};

// Why a request as a whole did not do its work. `status` is 0 when there was no answer.
export class ServiceError extends Error {
  constructor(status, message, retryAfterSeconds = 0) {
    super(message);
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

// The model versions that a request may name, or null when they cannot be had.
export async function getModels() {
  try {
    const response = await fetch("/models", { headers: authorization() });
    return response.ok ? await response.json() : null;
  } catch {
    return null; // classifying will tell what is wrong
  }
}

function authorization() {
  return apiKey.get() ? { Authorization: `Bearer ${apiKey.get()}` } : {};
}

// Classify `images` ({url} or {file}; all of one kind). `onLine(index, line)` is called for each as soon as it is
// done, `onUploaded(bytes)` as files are sent. Resolves when all lines have come; rejects with a ServiceError.
// An XMLHttpRequest, because fetch does not tell how much of a body has been sent.
export function classify(images, { k, version, signal, onLine, onUploaded }) {
  const names = new Map(images.map((image, index) => [image.url ?? String(index), index]));
  const request = new XMLHttpRequest();
  if (images[0].url) {
    request.open("POST", "/");
    request.setRequestHeader("Content-Type", "application/json");
  } else {
    const query = new URLSearchParams({ k, ...(version && { model_version: version }) });
    request.open("POST", `/files?${query}`);
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
        else onLine(names.get(line.url), line);
      }
    };
    request.addEventListener("progress", takeLines);
    request.addEventListener("load", () => {
      takeLines();
      if (request.status !== 200) reject(refusal(request));
      else if (totals === null) reject(new ServiceError(0, ""));
      else if (totals.errors.length) reject(new ServiceError(totals.status, totals.errors.join(". ")));
      else resolve();
    });
    request.addEventListener("error", () => reject(new ServiceError(0, "")));
    request.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(body(images, k, version));
  });
}

function body(images, k, version) {
  if (images[0].url) {
    return JSON.stringify({ images: images.map((image) => image.url), k, ...(version && { model_version: version }) });
  }
  const form = new FormData();
  images.forEach((image, index) => form.append("files", image.file, String(index))); // numbers: names may be equal
  return form;
}

function refusal(request) {
  let message = "";
  try {
    message = JSON.parse(request.responseText).errors.join(". ");
  } catch {
    // not from the service itself: a proxy's page has nothing to say here
  }
  return new ServiceError(request.status, message, Number(request.getResponseHeader("Retry-After")) || 0);
}
