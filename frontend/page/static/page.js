// The page: accepts photos and URLs, and shows the results.

import { Card } from "./card.js";
import { downloadCsv, downloadJson } from "./download.js";
import { text } from "./messages.js";
import { Run } from "./run.js";
import { apiKey, getModels } from "./service.js";
import { droppedFiles, pastedUrls } from "./sources.js";

const ANNOUNCE_MILLISECONDS = 3000;

const $ = (id) => document.getElementById(id);
let cards = [];
let drawing = false;
let announcing = null;

const run = new Run({
  options: () => ({ k: Number($("k").value), version: $("version").value || undefined }),
  askForKey,
  onChange: drawSoon,
});

function add(images) {
  if (!images.length) return;
  const added = images.map((image) => new Card(image));
  cards.push(...added);
  $("cards").append(...added.map((card) => card.element));
  $("results").hidden = false;
  run.add(added);
}

// --- images that the user adds

$("files").addEventListener("change", (event) => {
  add([...event.target.files].map((file) => ({ file })));
  event.target.value = ""; // otherwise choosing the same photo again would not be a change
});

$("sources").addEventListener("submit", (event) => {
  event.preventDefault();
  add(pastedUrls($("urls").value));
  $("urls").value = "";
});

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) event.preventDefault();
  add(files.map((file) => ({ file })));
  if (!files.length && !event.target.closest("input, textarea")) add(pastedUrls(event.clipboardData.getData("text")));
});

for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragging", name === "dragenter" || name === "dragover");
  });
}

document.addEventListener("drop", async (event) => {
  const urls = pastedUrls(event.dataTransfer.getData("text/uri-list"));
  const files = await droppedFiles(event.dataTransfer);
  add(files.length ? files.map((file) => ({ file })) : urls);
});

// --- model versions

// The choice is hidden while there is only one version.
async function offerVersions() {
  const models = await getModels();
  if (!models || models.versions.length < 2) return;
  const names = models.versions.map(({ version }) => version).filter((version) => version !== models.default);
  const options = names.map((version) => new Option(version, version));
  $("version").replaceChildren(new Option(text("version_default", { version: models.default }), ""), ...options);
  $("version-choice").hidden = false;
}

offerVersions();

// --- display

function drawSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(draw);
}

function draw() {
  drawing = false;
  const failed = cards.filter((card) => card.kind === "failed").length;
  const done = cards.filter((card) => !card.isPending).length;
  const count = text("progress", { done, total: cards.length });
  $("count").textContent = failed ? `${count} · ${text("failed", { count: failed })}` : count;
  $("total").max = Math.max(cards.length, 1);
  $("total").value = done;
  $("cancel").hidden = !run.isRunning;
  $("retry").hidden = run.isRunning || !failed;
  $("clear").hidden = run.isRunning;
  announceSoon();
  arrange();
}

// Screen readers announce the count every few seconds, not for every image.
function announceSoon() {
  announcing ??= setTimeout(() => {
    announcing = null;
    $("announcement").textContent = $("count").textContent;
  }, ANNOUNCE_MILLISECONDS);
}

const ORDERS = {
  added: (a, b) => a.order - b.order,
  name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
  species: (a, b) => speciesOf(a).localeCompare(speciesOf(b)),
  score: (a, b) => (b.best?.score ?? -1) - (a.best?.score ?? -1),
};

// The last character of Unicode sorts cards without predictions to the end.
function speciesOf(card) {
  return card.species ?? "\u{10FFFF}";
}

function arrange() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const card of cards) card.element.hidden = !card.matches($("show").value, words);
  const wanted = [...cards].sort((a, b) => ORDERS[$("sort").value](a, b) || a.order - b.order);
  if (wanted.some((card, index) => $("cards").children[index] !== card.element)) {
    $("cards").append(...wanted.map((card) => card.element));
  }
}

for (const id of ["sort", "show", "search"]) $(id).addEventListener("input", arrange);

// --- actions on the results

$("cancel").addEventListener("click", () => run.cancel());
$("retry").addEventListener("click", () => {
  const again = cards.filter((card) => card.kind === "failed");
  for (const card of again) card.wait();
  run.add(again);
});
$("clear").addEventListener("click", () => {
  for (const card of cards) card.remove();
  cards = [];
  $("results").hidden = true;
  $("urls").focus();
});
const records = () => cards.filter((card) => !card.isPending).map((card) => card.record);
$("csv").addEventListener("click", () => downloadCsv(records()));
$("json").addEventListener("click", () => downloadJson(records()));

// --- the API key

let asking = null;

// Resolves to true if the user entered a key. Requests that ask at the same time share one dialog.
function askForKey() {
  asking ??= new Promise((resolve) => {
    $("key-reason").textContent = text(apiKey.get() ? "key_refused" : "key_needed");
    $("key-value").value = "";
    $("key").returnValue = "";
    $("key").addEventListener("close", () => { asking = null; resolve($("key").returnValue === "given"); }, { once: true });
    $("key").showModal();
  });
  return asking;
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  apiKey.set($("key-value").value);
  offerVersions();
  $("key").close("given");
});
$("key-cancel").addEventListener("click", () => $("key").close());
