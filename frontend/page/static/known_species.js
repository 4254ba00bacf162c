// The species that the model can name, as a list that can be searched.

import { text } from "./messages.js";
import { options } from "./options.js";
import { get } from "./service.js";

const $ = (id) => document.getElementById(id);
let names = null; // until the answer has arrived

$("known").addEventListener("toggle", async () => {
  if (!$("known").open) return;
  const { model_version } = options();
  names = null;
  const answer = await get(`species?${new URLSearchParams(model_version && { model_version })}`);
  if (model_version !== options().model_version) return; // chosen meanwhile
  names = (answer?.species ?? []).map(({ bird_name, common_name }) => (common_name ? `${common_name} (${bird_name})` : bird_name));
  names.sort(new Intl.Collator().compare);
  show();
});

$("check").addEventListener("click", () => { $("known").open = true; });
$("known-search").addEventListener("input", show);

function show() {
  if (names === null) return;
  const wanted = $("known-search").value.trim().toLowerCase();
  const found = names.filter((name) => name.toLowerCase().includes(wanted));
  const items = found.map((name) => Object.assign(document.createElement("li"), { textContent: name }));
  $("known").querySelector("ol").replaceChildren(...items);
  $("known-count").textContent = text(names.length ? "species_found" : "no_list", { count: found.length });
}
