// The results: which cards are shown, in which order, with totals and notices.

import { text } from "./messages.js";
import { enlarge } from "./viewer.js";

const DRAW_MILLISECONDS = 100;
const ANNOUNCE_MILLISECONDS = 3000;
const KINDS = ["all", "identified", "not_sure", "no_bird", "no_match", "pending", "cancelled", "failed"];
const DENSE = 24; // with more photos than this, the cards are small
const ROWS_PER_GROUP = 10;
const MANY = 6; // from this number of photos on, the page offers search and sorting
const LAST = "\u{10FFFF}"; // sorts cards without a species to the end
const { compare } = new Intl.Collator(undefined, { numeric: true });
const scoreOf = (card, otherwise) => (card.species || card.kind === "not_sure" ? card.best.score : otherwise);
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
  #willDraw = false;
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
    $("cards").addEventListener("click", ({ target }) => {
      if (!target.closest(".photo, h3")) return;
      const shown = this.shown.filter(({ row }) => !row);
      enlarge(shown, shown.findIndex(({ card }) => card.contains(target)));
    });
    addEventListener("resize", () => this.drawSoon()); // the number of columns may change
    for (const id of ["sort", "search", "options"]) $(id).addEventListener("input", () => this.draw());
  }

  add(cards) {
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
    if (!this.#willDraw) setTimeout(() => this.draw(), DRAW_MILLISECONDS);
    this.#willDraw = true;
  }

  draw() {
    this.#willDraw = false;
    const { cards, run } = this;
    const count = countKinds(cards);
    if (!count[this.#kind]) this.#kind = "all";
    const shown = this.#arrange();
    $("results").dataset.state = run.isRunning ? "running" : "done";
    const done = count.all - count.pending;
    $("count").textContent = run.isRunning ? text("progress", { done, total: count.all }) : summary(shown, cards);
    Object.assign($("total"), { hidden: !run.isRunning, max: Math.max(count.all, 1), value: done });
    const retriable = cards.filter((card) => card.canRetry).length;
    $("retry").textContent = `${text("retry")} (${retriable})`;
    $("retry").hidden = run.isRunning || !retriable;
    $("resume").hidden = run.isRunning || !count.cancelled;
    $("cancel").hidden = !run.isRunning;
    $("clear").hidden = run.isRunning;
    $("search").hidden = $("sort").hidden = count.all < MANY;
    $("save").disabled = run.isRunning || !shown.length;
    $("save").textContent = run.isRunning ? text("save") : `${text("save")} (${shown.length})`;
    $("check").hidden = !count.identified;
    for (const kind of KINDS) {
      this.#buttons[kind].hidden = !count[kind];
      this.#buttons[kind].textContent = `${text(kind)} ${count[kind]}`;
      this.#buttons[kind].setAttribute("aria-pressed", kind === this.#kind);
    }
    this.#showNotice();
    this.#announceSoon();
  }

  #showNotice() {
    const { run } = this;
    const seconds = Math.ceil((run.pausedUntil - Date.now()) / 1000);
    const isPaused = run.isRunning && seconds > 0;
    const isOutdated = !run.isRunning && !run.refusal && this.outdated.length > 0;
    let notice = run.refusal;
    if (isPaused) notice = text(run.pauseReason, { seconds });
    if (isOutdated) notice = text("changed");
    $("notice").hidden = !notice;
    $("notice").firstElementChild.textContent = notice;
    $("again").hidden = !isOutdated;
    if (isPaused) this.drawSoon();
    this.notice = isPaused ? run.pauseReason : notice; // without the seconds, which are not announced
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
  get shown() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    return this.cards.filter((card) => card.matches(this.#kind, words)).sort(ORDERS[$("sort").value]);
  }

  #arrange() {
    const shown = this.shown;
    const isShown = new Set(shown);
    for (const card of this.cards) if (!isShown.has(card)) card.element.remove();
    $("cards").className = shown.length < 5 ? "few" : shown.length > DENSE ? "dense" : "";
    placeInGroups(shown.filter(({ row }) => !row));
    place($("failures"), shown.filter(({ row }) => row));
    $("nothing").hidden = shown.length > 0;
    return shown;
  }
}

// Put the cards into groups of whole rows, of which the browser draws only those near the window.
function placeInGroups(cards) {
  const groups = $("cards").children;
  const columns = getComputedStyle(groups[0]).gridTemplateColumns.split(" ").length;
  const size = columns * ROWS_PER_GROUP;
  const count = Math.max(1, Math.ceil(cards.length / size));
  for (let n = 0; n < count; n++) {
    const group = groups[n] ?? $("cards").appendChild(groups[0].cloneNode());
    const members = cards.slice(n * size, (n + 1) * size);
    group.style.setProperty("--rows", Math.ceil(members.length / columns));
    place(group, members);
  }
  while (groups.length > count) groups[count].remove();
}

// Put the elements of the cards into this order. Elements that are already in place are not moved.
function place(list, cards) {
  let next = list.firstElementChild;
  for (const { element } of cards) {
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }
}

const countKinds = (cards) => {
  const count = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
  for (const card of cards) count[card.kind]++;
  return { ...count, all: cards.length };
};

// The heading: what the shown cards are. A file that failed may not be a photo, so it is not counted as one.
function summary(shown, all) {
  const { failed, cancelled } = countKinds(shown);
  const [count, total] = [shown, all].map((cards) => cards.filter((card) => card.isAnswered).length);
  const species = new Set(shown.map((card) => card.species).filter(Boolean)).size;
  const parts = [];
  if (species) parts.push(text("species_found", { count: species }));
  if (count || (total && !shown.length)) parts.push(text(count < total ? "photos_of" : "photos", { count, total }));
  if (failed) parts.push(text("failed_count", { count: failed }));
  if (cancelled) parts.push(text("cancelled_count", { count: cancelled }));
  return parts.join(" · ");
}
