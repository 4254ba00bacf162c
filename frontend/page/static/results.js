// The results: which cards are shown, in which order, with totals and notices.

import { text } from "./messages.js";
import { enlarge } from "./viewer.js";

const DRAW_MILLISECONDS = 100;
const ANNOUNCE_MILLISECONDS = 3000;
const KINDS = ["all", "bird", "unsure", "no_bird", "empty", "pending", "cancelled", "failed"];
const LAST = "\u{10FFFF}"; // sorts cards without a species to the end
const { compare } = new Intl.Collator(undefined, { numeric: true });
const scoreOf = (card, otherwise) => (card.species || card.kind === "unsure" ? card.best.score : otherwise);
const ORDERS = {
  added: () => 0,
  name: (a, b) => compare(a.name, b.name),
  species: (a, b) => compare(a.species ?? LAST, b.species ?? LAST),
  sure: (a, b) => scoreOf(b, -1) - scoreOf(a, -1),
  unsure: (a, b) => scoreOf(a, 2) - scoreOf(b, 2),
};
const $ = (id) => document.getElementById(id);

export class Results {
  cards = [];
  #kind = "all";
  #buttons = {};
  #isDrawing = false;
  #announcing = null;
  #told = ""; // the notice that was announced

  constructor(run, options) {
    Object.assign(this, { run, options });
    for (const kind of KINDS) {
      const button = document.createElement("button");
      button.type = "button";
      button.addEventListener("click", () => { this.#kind = kind; this.draw(); });
      this.#buttons[kind] = $("kinds").appendChild(button);
    }
    for (const id of ["sort", "search", "options"]) $(id).addEventListener("input", () => this.draw());
  }

  add(cards) {
    for (const card of cards) card.photo.addEventListener("click", () => enlarge(card, this.#shown().filter(({ row }) => !row)));
    this.cards.push(...cards);
    this.draw();
  }

  clear() {
    for (const card of this.cards) card.remove();
    this.cards = [];
    this.run.refusal = "";
    $("search").value = "";
  }

  // The answered cards whose request had other options than the current ones.
  get outdated() {
    const options = JSON.stringify(this.options());
    return this.cards.filter((card) => card.isAnswered && card.asked !== options);
  }

  drawSoon() {
    if (!this.#isDrawing) setTimeout(() => this.draw(), DRAW_MILLISECONDS);
    this.#isDrawing = true;
  }

  draw() {
    this.#isDrawing = false;
    const { cards, run } = this;
    const count = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
    for (const card of cards) count[card.kind]++;
    count.all = cards.length;
    const done = cards.length - count.pending;
    const species = new Set(cards.map((card) => card.species)).size - (count.bird < cards.length ? 1 : 0);
    $("results").dataset.state = run.isRunning ? "running" : "done";
    $("count").textContent = run.isRunning
      ? text("progress", { done, total: cards.length })
      : [species && text("species_found", { count: species }), text("photos", { count: done })].filter(Boolean).join(" · ");
    $("total").hidden = !run.isRunning;
    $("total").max = Math.max(cards.length, 1);
    $("total").value = done;
    const retriable = cards.filter((card) => card.canRetry).length;
    $("retry").textContent = text("retry", { count: retriable });
    $("cancel").hidden = !run.isRunning;
    $("resume").hidden = run.isRunning || !count.cancelled;
    $("retry").hidden = run.isRunning || !retriable;
    $("clear").hidden = run.isRunning;
    if (!count[this.#kind]) this.#kind = "all";
    for (const kind of KINDS) {
      this.#buttons[kind].hidden = !count[kind];
      this.#buttons[kind].textContent = `${text(kind)} ${count[kind]}`;
      this.#buttons[kind].setAttribute("aria-pressed", kind === this.#kind);
    }
    this.#showNotice();
    this.#announceSoon();
    this.#arrange();
  }

  #showNotice() {
    const { run } = this;
    const seconds = Math.ceil((run.pausedUntil - Date.now()) / 1000);
    const isPaused = run.isRunning && seconds > 0;
    const isOutdated = !run.isRunning && !run.refusal && this.outdated.length > 0;
    const notice = isPaused ? text(run.pauseReason, { seconds }) : run.refusal || (isOutdated ? text("changed") : "");
    $("notice").hidden = !notice;
    $("notice").firstElementChild.textContent = notice;
    $("again").hidden = !isOutdated;
    if (isPaused) this.drawSoon();
    this.notice = isPaused ? run.pauseReason : notice;
  }

  // Screen readers announce the count every few seconds, not for every image, and each notice once.
  #announceSoon() {
    this.#announcing ??= setTimeout(() => {
      this.#announcing = null;
      const notice = this.notice === this.#told ? "" : $("notice").firstElementChild.textContent;
      this.#told = this.notice;
      $("announcement").textContent = `${$("count").textContent}. ${notice}`;
    }, ANNOUNCE_MILLISECONDS);
  }

  // The cards that pass the filter and the search, in order.
  #shown() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const order = ORDERS[$("sort").value];
    return this.cards.filter((card) => card.matches(this.#kind, words)).sort((a, b) => order(a, b) || a.order - b.order);
  }

  #arrange() {
    const shown = new Set(this.#shown());
    for (const card of this.cards) card.element.hidden = !shown.has(card);
    const all = [...shown, ...this.cards.filter((card) => !shown.has(card))];
    place($("cards"), all.filter(({ row }) => !row));
    place($("failures"), all.filter(({ row }) => row));
    $("cards").className = shown.size < 5 ? "few" : shown.size > 24 ? "dense" : "";
    $("nothing").hidden = shown.size > 0;
  }
}

// Put the elements of the cards into this order. Elements that are already in place are not moved.
function place(list, cards) {
  let next = list.firstElementChild;
  for (const { element } of cards) {
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }
}
