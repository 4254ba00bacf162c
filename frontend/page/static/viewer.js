// The large view of one photo with all its species.

import { fill, showPhoto } from "./card.js";

const $ = (id) => document.getElementById(id);
let cards = [];
let shown = 0;

// Show the card. The arrow keys and buttons lead to the other cards of `all`.
export function enlarge(card, all) {
  cards = all;
  show(all.indexOf(card));
  $("viewer").showModal();
}

function show(index) {
  if (!cards[index]) return;
  shown = index;
  const card = cards[index];
  showPhoto($("viewer").querySelector(".photo"), card);
  $("viewer").querySelector("img").alt = $("viewer").querySelector(".name").textContent = card.name;
  $("viewer").className = card.kind;
  $("viewer-title").textContent = card.headline;
  fill($("viewer").querySelector(".predictions"), card.predictions ?? []);
  $("previous").disabled = !index;
  $("next").disabled = index === cards.length - 1;
}

$("previous").addEventListener("click", () => show(shown - 1));
$("next").addEventListener("click", () => show(shown + 1));
$("close").addEventListener("click", () => $("viewer").close());
$("viewer").addEventListener("click", (event) => { if (event.target === $("viewer")) $("viewer").close(); });
$("viewer").addEventListener("keydown", ({ key }) => show(shown + ({ ArrowLeft: -1, ArrowRight: 1 }[key] ?? NaN)));
$("viewer").addEventListener("close", () => cards[shown].photo.focus());
