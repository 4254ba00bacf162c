// A typed client, generated from the service's OpenAPI document:
//
//   npm install openapi-fetch openapi-typescript typescript @types/node
//   npx openapi-typescript http://127.0.0.1:8000/openapi.json --output birds-api.ts
//   npx tsc --strict --module nodenext --target es2022 birds.ts && node birds.js photo.jpg https://example.org/owl.jpg

import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import createClient from "openapi-fetch";
import type { components, paths } from "./birds-api.js";

type Answer = components["schemas"]["ClassifyResponse"];

const baseUrl = process.env.BIRDS_URL ?? "http://127.0.0.1:8000";
const key = process.env.BIRDS_API_KEY;
const birds = createClient<paths>({ baseUrl, headers: key ? { Authorization: `Bearer ${key}` } : {} });

async function classifyUrls(images: string[]): Promise<Answer> {
  const { data, error } = await birds.POST("/", { body: { images, k: 1 } });
  return checked(data, error);
}

async function classifyFiles(files: string[]): Promise<Answer> {
  const form = new FormData();
  for (const file of files) form.append("files", new Blob([await readFile(file)]), basename(file));
  const { data, error } = await birds.POST("/files", {
    params: { query: { k: 1 } },
    body: { files: [] }, // OpenAPI describes a file as a string, so the form takes the place of this body
    bodySerializer: () => form,
  });
  return checked(data, error);
}

// Almost every status has an answer of this shape; only a request that is not valid HTTP gets plain text.
function checked(data: Answer | string | undefined, error: Answer | string | undefined): Answer {
  const answer = data ?? error;
  if (answer === undefined || typeof answer === "string") throw new Error(answer ?? "The answer is empty");
  if (answer.errors?.length) throw new Error(answer.errors.join("; "));
  return answer;
}

const { data: models } = await birds.GET("/models");
const notSureBelow = models?.not_sure_below ?? 0;

const names = process.argv.slice(2);
const urls = names.filter((name) => /^https?:/.test(name));
const files = names.filter((name) => !urls.includes(name));
const answers: Answer[] = [];
if (urls.length) answers.push(await classifyUrls(urls));
if (files.length) answers.push(await classifyFiles(files));
for (const answer of answers) {
  for (const [image, [best]] of Object.entries(answer.successful_results ?? {})) {
    const doubt = best && best.score < notSureBelow && best.bird_name !== "background" ? "not sure: " : "";
    console.log(`${image}: ${doubt}${best ? `${best.common_name ?? best.bird_name} ${best.score.toFixed(2)}` : "no species"}`);
  }
  for (const failure of answer.failures ?? []) console.log(`${failure.url}: ${failure.message} (${failure.code})`);
}
