// What the user asks about each photo: how many species, the lowest score, which species, and the model version.

import { text } from "./messages.js";
import { get } from "./service.js";
import { lines } from "./sources.js";

const $ = (id) => document.getElementById(id);

// The fields of a request. Those without a value are left out.
export function options() {
  const chosen = $("species").value;
  const names = lines($("names").value);
  return {
    k: Number($("k").value),
    min_score: Math.min(Math.max(Number($("min-score").value), 0), 100) / 100,
    ...(chosen.startsWith("list:") && { species: chosen.slice(5) }),
    ...(chosen === "own" && names.length && { species: names }),
    ...($("version").value && { model_version: $("version").value }),
  };
}

// Offer the versions and species lists of the service. With a single version there is nothing to choose.
export async function offerChoices() {
  const [models, lists] = await Promise.all([get("models"), get("species-lists")]);
  if (models?.versions.length > 1) {
    const others = models.versions.map(({ version }) => version).filter((version) => version !== models.default);
    const names = others.map((version) => new Option(version, version));
    $("version").replaceChildren(new Option(text("version_default", { version: models.default }), ""), ...names);
    $("version-choice").hidden = false;
  }
  if (lists) {
    const named = lists.lists.map(({ name, species }) => new Option(`${name} (${species})`, `list:${name}`));
    const chosen = $("species").value;
    $("species").replaceChildren($("species").options[0], ...named, $("species").querySelector("[value=own]"));
    $("species").value = chosen; // taking the chosen option out chose another one
  }
}

$("species").addEventListener("input", () => { $("own").hidden = $("species").value !== "own"; });
