// One image on the page: its state, and the card that shows it. A failure is a row instead of a card.

import { data, percent, text } from "./messages.js";
import { smallWhenNear } from "./thumbnail.js";

const BACKGROUND = "background"; // the model's label for images without a bird
const PENDING = ["waiting", "uploading", "classifying"];
const WORDS = [[0.8, "very_likely"], [0.6, "likely"], [0, "possible"]]; // from this score on
const LARGE = 300_000; // bytes; the card shows a small copy of such a file
const CLOSE = 0.5; // a runner-up with at least this fraction of the best score is shown with it
const NAMED = 0.1; // a card that is not sure names no species with a lower score
// What the user can do about a failure. For all other codes, a retry may help.
const ADVICE = {
  invalid_url: "check_url", forbidden_url: "save_photo", download_failed: "save_photo", not_an_image: "other_file",
  unsupported_format: "other_format", too_large: "smaller", too_many_pixels: "smaller", too_expensive: "smaller",
};
const HOST_FIRST = /^[^\s:/?#]+\.[^\s:/?#]+(:\d+)?([/?#]|$)/; // a web address without https://, not image data

const $ = (element, name) => element.querySelector(`.${name}`);
const copyOf = (template) => document.getElementById(template).content.firstElementChild.cloneNode(true);

export class Card {
  constructor({ file, url }) {
    const name = url ?? (file.webkitRelativePath || file.name);
    Object.assign(this, { file, url, name });
    this.card = copyOf("card");
    this.photo = $(this.card, "photo");
    this.photo.setAttribute("aria-label", text("enlarge", { name }));
    Object.assign($(this.card, "name"), { textContent: name, title: name });
    this.card.querySelector("details").addEventListener("toggle", () => this.#fillFolded());
    if (file) this.source = URL.createObjectURL(file);
    else if (/^https?:/i.test(url)) this.source = url;
    if (file?.size >= LARGE) this.cancelSmall = smallWhenNear(this.photo, file, (small) => this.#showSmall(small));
    else showPhoto(this.photo, this);
    this.wait();
  }

  get element() { return this.row ?? this.card; }
  get isPending() { return PENDING.includes(this.state); }
  get isAnswered() { return Boolean(this.predictions); }
  get canRetry() { return this.state === "failed" && (!ADVICE[this.failure.code] || this.failure.code === "download_failed"); }
  get kind() { return this.isPending ? "pending" : this.state; }
  get best() { return this.predictions?.[0]; }
  get isNamed() { return this.state === "identified" || (this.state === "not_sure" && this.best.score >= NAMED); }
  get species() { return this.state === "identified" ? nameOf(this.best) : undefined; }
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
    const advice = code === "invalid_url" && HOST_FIRST.test(this.name) ? "add_scheme" : ADVICE[code];
    $(this.row, "reason").textContent = text("failure", { message, advice: advice ? text(advice) : "" }).trim();
    this.row.title = code;
    Object.assign(this.row.querySelector("button"), { hidden: !this.canRetry, textContent: text("retry") });
  }

  // Show the service's answer to a request with the options `asked`.
  finish({ predictions, model_version, no_bird }, asked) {
    const [best, ...others] = predictions;
    const state = no_bird ? "no_bird"
      : !best ? "no_match"
      : best.score < data.not_sure_below ? "not_sure" : "identified";
    this.#become(state, { predictions, version: model_version, asked });
    const rivals = this.isNamed ? others.filter((other) => isRival(other, best)) : [];
    if (this.isNamed) this.#showBest(best, rivals);
    else $(this.card, "second").textContent = text(`${state}_reason`);
    const unshown = this.isNamed ? others.filter((other) => !rivals.includes(other)) : predictions;
    this.folded = no_bird ? [] : unshown.filter(({ bird_name }) => bird_name !== BACKGROUND);
    const details = this.card.querySelector("details");
    details.hidden = !this.folded.length;
    details.querySelector("summary").textContent = text(this.isNamed ? "others" : "guesses", { count: this.folded.length });
    this.#fillFolded();
  }

  matches(kind, words) {
    const found = this.isNamed ? `${nameOf(this.best)} ${this.best.bird_name}` : this.failure?.message;
    const content = `${this.name} ${text(this.state)} ${found ?? ""}`.toLowerCase();
    return (kind === "all" || kind === this.kind) && words.every((word) => content.includes(word));
  }

  remove() {
    this.cancelSmall?.();
    for (const url of [this.source, this.small]) URL.revokeObjectURL(url); // has no effect on other URLs
    this.element.remove();
  }

  #showBest(best, rivals) {
    if (this.species) {
      this.word = WORDS.find(([least]) => best.score >= least)[1];
      this.card.classList.add(this.word);
    }
    $(this.card, "second").textContent = this.word ? best.common_name && best.bird_name : text("best_guess", { name: nameOf(best) });
    $(this.card, "score").textContent = `${this.word && text(this.word)} ${percent(best.score)}`;
    $(this.card, "bar").style.setProperty("--score", `${100 * best.score}%`);
    $(this.card, "meter").hidden = false;
    $(this.card, "close").textContent = rivals.map((rival) => text("or", { name: nameOf(rival), score: percent(rival.score) })).join(", ");
  }

  #fillFolded() {
    const details = this.card.querySelector("details");
    if (details.open) fill($(details, "predictions"), this.folded);
  }

  #showSmall(small) {
    this.small = small;
    showPhoto(this.photo, { name: this.name, source: small ?? this.source });
  }

  #become(state, { predictions, failure, version, asked } = {}) {
    if (this.row) this.row.remove();
    if (state === "failed") this.card.remove();
    Object.assign(this, { state, predictions, failure, version, asked, row: null, word: "" });
    this.card.className = `card ${this.kind} ${state}`;
    this.card.querySelector("h3").textContent = state === "failed" ? "" : this.headline;
    for (const name of ["second", "score", "close"]) $(this.card, name).textContent = "";
    for (const part of [$(this.card, "meter"), this.card.querySelector("details")]) part.hidden = true;
    const progress = this.card.querySelector("progress");
    progress.hidden = !this.isPending;
    progress.setAttribute("aria-label", this.name);
    if (state === "waiting") progress.value = 0;
    else progress.removeAttribute("value");
  }
}

// Genus and species: the same for a species and its subspecies.
const speciesOf = ({ bird_name }) => bird_name.split(" ", 2).join(" ");

// Whether the answer should show `other` beside `best`.
const isRival = (other, best) => other.score >= Math.max(NAMED, CLOSE * best.score) && speciesOf(other) !== speciesOf(best);

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
