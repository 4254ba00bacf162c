// The large view of one photo with all its species.

import { fill, showPhoto } from "./card.js";

const $ = (id) => document.getElementById(id);
let cards = [];
let shown = 0;

// Show the card at `index`, if there is one. The arrow keys and buttons lead to the other cards of `all`.
export function enlarge(all, index) {
  if (!all[index]) return;
  cards = all;
  show(index);
  $("viewer").showModal();
}

function show(index) {
  if (!cards[index]) return;
  shown = index;
  const card = cards[index];
  showPhoto($("viewer").querySelector(".photo"), card);
  $("viewer").querySelector("img").alt = $("viewer").querySelector(".name").textContent = card.name;
  $("viewer").className = `${card.kind} ${card.word}`;
  $("viewer-title").textContent = card.headline;
  for (const part of [".second", ".score"]) $("viewer").querySelector(part).textContent = card.card.querySelector(part).textContent;
  fill($("viewer").querySelector(".predictions"), card.predictions ?? []);
  Object.assign($("viewer").querySelector("details"), { hidden: !card.predictions?.length, open: card.kind !== "no_bird" });
  $("previous").disabled = !index;
  $("next").disabled = index === cards.length - 1;
}

$("previous").addEventListener("click", () => show(shown - 1));
$("next").addEventListener("click", () => show(shown + 1));
$("close").addEventListener("click", () => $("viewer").close());
$("viewer").addEventListener("click", (event) => { if (event.target === $("viewer")) $("viewer").close(); });
$("viewer").addEventListener("keydown", ({ key }) => {
  if (key === "ArrowLeft") show(shown - 1);
  if (key === "ArrowRight") show(shown + 1);
});
$("viewer").addEventListener("close", () => cards[shown].photo.focus());
