// The page: accepts photos and URLs, and connects the buttons to their actions.

import { Card } from "./card.js";
import "./known_species.js";
import { copy, downloadCsv, downloadJson } from "./download.js";
import { data, text } from "./messages.js";
import { offerChoices, options } from "./options.js";
import { Results } from "./results.js";
import { Run } from "./run.js";
import { apiKey } from "./service.js";
import { drawingAsFile, droppedFiles, isImage, pastedUrls } from "./sources.js";

const CARDS_AT_ONCE = 50; // adding more at once would block the page
const $ = (id) => document.getElementById(id);
const onClick = (id, action) => $(id).addEventListener("click", action);

const run = new Run({ options, askForKey, onChange: () => results.drawSoon() });
const results = new Results(run, options);

// --- images that the user adds

async function add(images) {
  for (let start = 0; start < images.length; start += CARDS_AT_ONCE) {
    const cards = images.slice(start, start + CARDS_AT_ONCE).map((image) => new Card(image));
    for (const card of cards) {
      if (card.file?.size > data.max_bytes) card.fail("too_large", text("too_large", { megabytes: data.megabytes }));
    }
    const isFirst = !results.cards.length;
    if (isFirst) {
      $("results").hidden = false;
      document.body.classList.add("started");
    }
    run.add(cards.filter((card) => card.isPending));
    results.add(cards);
    if (isFirst) moveTo($("results"), $("count"));
    else if (!start) cards[0].element.scrollIntoView({ block: "nearest" });
    await new Promise((resolve) => setTimeout(resolve));
  }
}

function moveTo(section, focused) {
  section.scrollIntoView();
  focused.focus({ preventScroll: true });
}

const addFiles = (files) => add(files.map((file) => ({ file })));

for (const [id, isWanted] of [["files", () => true], ["folder", isImage]]) {
  $(id).addEventListener("change", ({ target }) => {
    addFiles([...target.files].filter(isWanted));
    target.value = ""; // otherwise choosing the same photo again would not be a change
  });
}

$("sources").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!$("url-choice").open) return; // Enter in a field of another panel
  add(pastedUrls($("urls").value));
  $("urls").value = "";
  $("url-choice").open = false;
});

for (const button of $("samples").querySelectorAll("button")) {
  button.addEventListener("click", async () => addFiles([await drawingAsFile(button.firstElementChild)]));
}

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) event.preventDefault();
  addFiles(files);
  if (!files.length && !event.target.closest("input, textarea")) add(pastedUrls(event.clipboardData.getData("text")));
});

/** Whether files or links are dragged; text may still be dragged into a field. */
const carriesPhotos = ({ dataTransfer }) => ["Files", "text/uri-list"].some((type) => dataTransfer.types.includes(type));

for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (!carriesPhotos(event)) return;
    event.preventDefault();
    document.body.classList.toggle("dragging", name === "dragenter" || name === "dragover");
  });
}

document.addEventListener("drop", async (event) => {
  if (!carriesPhotos(event)) return;
  const urls = pastedUrls(event.dataTransfer.getData("text/uri-list"));
  const files = await droppedFiles(event.dataTransfer);
  if (files.length) addFiles(files);
  else add(urls);
});

// --- actions on the results

function ask(cards) {
  for (const card of cards) card.wait();
  run.add(cards);
}

onClick("more", () => $("files").click());
onClick("more-folder", () => $("folder").click());
onClick("cancel", () => run.cancel());
onClick("resume", () => ask(results.cards.filter((card) => card.kind === "cancelled")));
onClick("retry", () => ask(results.cards.filter((card) => card.canRetry)));
onClick("again", () => ask(results.outdated));
onClick("failures", (event) => {
  if (event.target.closest("button")) ask(results.cards.filter((card) => card.row?.contains(event.target)));
});
onClick("clear", () => {
  if (!confirm(text("clear_question", { count: results.cards.length }))) return;
  results.clear();
  $("results").hidden = true;
  document.body.classList.remove("started");
  moveTo(document.body, $("files"));
});

// --- saving what is shown

onClick("save", () => {
  $("saving-title").textContent = text("save_title", { count: results.shown.length });
  $("saving").showModal();
});
onClick("saving-close", () => $("saving").close());
for (const [id, download] of [["csv", downloadCsv], ["json", downloadJson]]) {
  onClick(id, () => {
    download(results.shown);
    $("saving").close();
  });
}
onClick("copy", async () => {
  await copy(results.shown);
  $("announcement").textContent = $("copy").textContent = text("copied");
  setTimeout(() => { $("copy").textContent = text("copy"); }, 2000);
});

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
  offerChoices();
  $("key").close("given");
});
onClick("key-cancel", () => $("key").close());

offerChoices();
