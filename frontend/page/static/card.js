// One image on the page: its state, and the card that shows it. A failure is a row instead of a card.

import { data, percent, text } from "./messages.js";

const BACKGROUND = "background"; // the model's label for images without a bird
const PENDING = ["waiting", "uploading", "classifying"];
const WORDS = [[0.8, "very_likely"], [0.6, "likely"], [0, "possible"]]; // from this score on
const CLOSE = 0.5; // a runner-up with at least this fraction of the best score is always shown
// What the user can do about a failure. For all other codes, a retry may help.
const ADVICE = {
  invalid_url: "check_url", forbidden_url: "save_photo", download_failed: "save_photo", not_an_image: "other_file",
  unsupported_format: "other_format", too_large: "smaller", too_many_pixels: "smaller", too_expensive: "smaller",
};

const $ = (element, name) => element.querySelector(`.${name}`);
const copyOf = (template) => document.getElementById(template).content.firstElementChild.cloneNode(true);
let added = 0;

export class Card {
  constructor({ file, url }) {
    Object.assign(this, { file, url, name: url ?? (file.webkitRelativePath || file.name), order: added++ });
    this.card = copyOf("card");
    this.photo = $(this.card, "photo");
    this.photo.setAttribute("aria-label", text("enlarge", { name: this.name }));
    Object.assign($(this.card, "name"), { textContent: this.name, title: this.name });
    this.source = file ? URL.createObjectURL(file) : /^https?:/i.test(url) && url;
    showPhoto(this.photo, this);
    this.card.querySelector("details").addEventListener("toggle", (event) => fill($(event.target, "predictions"), this.others), { once: true });
    this.wait();
  }

  get element() { return this.row ?? this.card; }
  get isPending() { return PENDING.includes(this.state); }
  get isAnswered() { return Boolean(this.predictions); }
  get canRetry() { return this.state === "failed" && (!ADVICE[this.failure.code] || this.failure.code === "download_failed"); }
  get kind() { return this.isPending ? "pending" : this.state; }
  get best() { return this.predictions?.[0]; }
  get species() { return this.state === "bird" ? nameOf(this.best) : undefined; }
  get headline() { return this.species ?? text(this.state); }

  wait() { this.#become("waiting"); }
  cancel() { this.#become("cancelled"); }

  // Show how much of the file has been sent; `sent` is from 0 to 1. For a URL nothing is sent.
  showUploaded(sent) {
    const state = this.file && sent < 1 ? "uploading" : "classifying";
    if (this.state !== state) this.#become(state);
    if (state === "uploading") this.card.querySelector("progress").value = sent;
  }

  fail(code, message) {
    this.#become("failed", { failure: { code, message } });
    this.row = copyOf("failure");
    Object.assign($(this.row, "name"), { textContent: this.name, title: this.name });
    $(this.row, "reason").textContent = [`${message}.`, ADVICE[code] && text(ADVICE[code])].filter(Boolean).join(" ");
    this.row.title = code;
    this.row.querySelector("button").hidden = !this.canRetry;
  }

  // `asked` are the options of the request.
  finish({ predictions, model_version, no_bird }, asked) {
    const [best, ...others] = predictions;
    const state = no_bird ? "no_bird" : !best ? "empty" : best.score < data.not_sure_below ? "unsure" : "bird";
    const isBird = state === "bird" || state === "unsure";
    const isClose = ({ score }) => isBird && score >= CLOSE * best.score;
    this.others = isBird ? others.filter((other) => !isClose(other)) : predictions.filter(({ bird_name }) => bird_name !== BACKGROUND);
    this.#become(state, { predictions, version: model_version, asked });
    const second = { bird: best?.common_name && best.bird_name, unsure: best && text("perhaps", { name: nameOf(best) }), empty: text("empty_reason") };
    $(this.card, "second").textContent = second[state] ?? "";
    $(this.card, "meter").hidden = !isBird;
    if (isBird) {
      const word = state === "bird" ? text(WORDS.find(([least]) => best.score >= least)[1]) : "";
      $(this.card, "bar").style.setProperty("--score", `${100 * best.score}%`);
      $(this.card, "score").textContent = `${word} ${percent(best.score)}`;
      const close = others.filter(isClose).map((other) => text("or", { name: nameOf(other), score: percent(other.score) }));
      Object.assign($(this.card, "close"), { textContent: close.join(", "), title: close.join(", ") });
    }
    const details = this.card.querySelector("details");
    details.hidden = !this.others.length;
    details.querySelector("summary").textContent = text("others", { count: this.others.length });
    if (details.open) fill($(details, "predictions"), this.others);
  }

  // One record of the JSON download, in the format of `birds classify --format json`.
  get record() {
    if (this.predictions) return { image: this.name, model_version: this.version, predictions: this.predictions };
    return { image: this.name, failure: this.failure ?? { code: this.state, message: text(this.state) } };
  }

  matches(kind, words) {
    const content = `${this.name} ${this.predictions ? `${this.headline} ${this.best?.bird_name}` : this.failure?.message}`.toLowerCase();
    return (kind === "all" || kind === this.kind) && words.every((word) => content.includes(word));
  }

  remove() {
    if (this.file) URL.revokeObjectURL(this.source);
    this.element.remove();
  }

  #become(state, { predictions, failure, version, asked } = {}) {
    if (this.row) this.row.remove();
    if (state === "failed") this.card.remove();
    Object.assign(this, { state, predictions, failure, version, asked, row: null });
    this.card.className = `card ${this.kind} ${state}`;
    this.card.querySelector("h3").textContent = state === "failed" ? "" : this.headline;
    for (const name of ["second", "close"]) $(this.card, name).textContent = "";
    for (const part of [$(this.card, "meter"), this.card.querySelector("details")]) part.hidden = true;
    const progress = this.card.querySelector("progress");
    progress.hidden = !this.isPending;
    progress.setAttribute("aria-label", this.name);
    if (state === "waiting") progress.value = 0;
    else progress.removeAttribute("value");
  }
}

// The name that people read: the common name if there is one.
function nameOf({ bird_name, common_name }) {
  return bird_name === BACKGROUND ? text("no_bird") : (common_name ?? bird_name);
}

// Show the photo in `frame`. If the browser cannot, show the kind of file.
export function showPhoto(frame, { source, name }) {
  const image = frame.querySelector("img");
  const fails = () => {
    image.hidden = true;
    frame.dataset.kind = /\.(\w{2,4})$/.exec(name)?.[1].toUpperCase() ?? "?";
  };
  image.hidden = false;
  delete frame.dataset.kind;
  image.onerror = fails;
  if (source) image.src = source;
  else fails();
}

// Fill a list with predictions.
export function fill(list, predictions) {
  list.replaceChildren(...predictions.map((prediction) => {
    const item = copyOf("prediction");
    const { bird_name, common_name, score } = prediction;
    $(item, "common").textContent = nameOf(prediction);
    $(item, "scientific").textContent = common_name && bird_name !== BACKGROUND ? bird_name : "";
    $(item, "score").textContent = percent(score);
    $(item, "bar").style.setProperty("--score", `${100 * score}%`);
    return item;
  }));
}
