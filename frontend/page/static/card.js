// One image on the page: its state and the card that shows it.

import { percent, text } from "./messages.js";

const cardTemplate = document.getElementById("card");
const predictionTemplate = document.getElementById("prediction");
const BACKGROUND = "background"; // the model's label for images without a bird
const PENDING = ["waiting", "uploading", "classifying"];

let added = 0;

export class Card {
  constructor({ file, url }) {
    this.file = file;
    this.url = url;
    this.name = url ?? file.name;
    this.order = added++;
    this.element = cardTemplate.content.firstElementChild.cloneNode(true);
    this.element.querySelector("h3").textContent = this.name;
    this.element.querySelector("h3").title = this.name;
    this.thumbnail = file && URL.createObjectURL(file);
    const image = this.element.querySelector("img");
    image.alt = text("photo", { name: this.name });
    image.src = this.thumbnail ?? (/^https?:/i.test(url) ? url : "static/icon.svg");
    image.addEventListener("error", () => { image.src = "static/icon.svg"; }, { once: true });
    this.wait();
  }

  get isPending() { return PENDING.includes(this.state); }
  get kind() { return this.state === "done" ? "done" : this.isPending ? "pending" : "failed"; }
  get best() { return this.predictions?.[0]; }
  get species() { return this.best && displayName(this.best); }

  wait() { this.#become("waiting", text("waiting")); }
  cancel() { this.#become("cancelled", text("cancelled")); }

  // Show how much of the file has been sent; `share` is from 0 to 1. For a URL nothing is sent.
  showUploaded(share) {
    if (this.file && share < 1) {
      this.#become("uploading", text("uploading"));
      this.element.querySelector("progress").value = share;
    } else if (this.state !== "classifying") {
      this.#become("classifying", text("classifying"));
    }
  }

  fail(code, message) {
    this.failure = { code, message };
    this.#become("failed", `${message} (${code})`);
  }

  finish(predictions, version) {
    this.predictions = predictions;
    this.version = version;
    this.#become("done", "");
    this.element.querySelector(".predictions").replaceChildren(...predictions.map(predictionItem));
  }

  // One record of the JSON download, in the format of `birds classify --format json`.
  get record() {
    if (this.predictions) return { image: this.name, model_version: this.version, predictions: this.predictions };
    return { image: this.name, failure: this.failure ?? { code: this.state, message: text(this.state) } };
  }

  matches(kind, words) {
    const content = `${this.name} ${this.species ?? ""} ${this.best?.bird_name ?? ""} ${this.failure?.code ?? ""}`.toLowerCase();
    return (kind === "all" || kind === this.kind) && words.every((word) => content.includes(word));
  }

  remove() {
    if (this.thumbnail) URL.revokeObjectURL(this.thumbnail);
    this.element.remove();
  }

  #become(state, shown) {
    if (state !== "failed") this.failure = undefined;
    this.state = state;
    this.element.className = `card ${state}`;
    const line = this.element.querySelector(".state");
    line.textContent = shown;
    line.hidden = !shown;
    const progress = this.element.querySelector("progress");
    progress.hidden = !this.isPending;
    progress.setAttribute("aria-label", shown);
    if (state === "waiting") progress.value = 0;
    else progress.removeAttribute("value");
  }
}

// The name that people read: the common name if there is one.
function displayName({ bird_name, common_name }) {
  return bird_name === BACKGROUND ? text("no_bird") : (common_name ?? bird_name);
}

function predictionItem(prediction) {
  const { bird_name, common_name, score } = prediction;
  const item = predictionTemplate.content.firstElementChild.cloneNode(true);
  const isNamed = common_name !== null || bird_name === BACKGROUND;
  item.querySelector(".common").textContent = isNamed ? displayName(prediction) : "";
  item.querySelector(".scientific").textContent = bird_name === BACKGROUND ? "" : bird_name;
  item.querySelector(".score").textContent = percent.format(score);
  item.querySelector(".bar").style.setProperty("--score", `${100 * score}%`);
  return item;
}
