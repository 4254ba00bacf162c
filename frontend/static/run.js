// Works off the waiting cards: a few requests at once, each with a few images; tries again what passes.

import { text } from "./messages.js";
import { ServiceError, classify } from "./service.js";

const REQUESTS_AT_ONCE = 3;
const URLS_PER_REQUEST = 32;
const FILES_PER_REQUEST = 8;
const TRIES = 6;
const LONGEST_PAUSE_SECONDS = 15;
const PASSING = [0, 408, 429, 502, 503, 504];

export class Run {
  #waiting = [];
  #active = 0;
  #abort = new AbortController();

  // `options()` gives k and version for the next request; `askForKey(refused)` resolves to whether there is a key now.
  constructor({ options, askForKey, onChange }) {
    this.options = options;
    this.askForKey = askForKey;
    this.onChange = onChange;
  }

  get isRunning() { return this.#active > 0 || this.#waiting.length > 0; }

  add(cards) {
    this.#waiting.push(...cards);
    while (this.#active < REQUESTS_AT_ONCE && this.#waiting.length) this.#work();
    this.onChange();
  }

  cancel() {
    for (const card of this.#waiting.splice(0)) card.cancel();
    this.#abort.abort();
    this.#abort = new AbortController();
    this.onChange();
  }

  async #work() {
    this.#active++;
    const { signal } = this.#abort;
    while (this.#waiting.length && !signal.aborted) {
      const batch = this.#take();
      try {
        await this.#finish(batch, signal);
      } catch (error) {
        for (const card of batch.filter((card) => card.isPending)) {
          if (signal.aborted) card.cancel();
          else card.fail(`http_${error.status ?? 0}`, error.message || text("lost"));
        }
        if (!signal.aborted && !(error instanceof ServiceError)) console.error(error);
      }
      this.onChange();
    }
    this.#active--;
    this.onChange();
  }

  #take() {
    const isUrl = Boolean(this.#waiting[0].url);
    const most = isUrl ? URLS_PER_REQUEST : FILES_PER_REQUEST;
    const other = this.#waiting.findIndex((card) => Boolean(card.url) !== isUrl);
    return this.#waiting.splice(0, Math.min(most, other < 0 ? most : other));
  }

  // Returns once no card of the batch is pending; throws what cannot be helped.
  async #finish(batch, signal) {
    for (let tries = TRIES, pause = 1; ; ) {
      try {
        return await this.#request(batch.filter((card) => card.isPending), signal);
      } catch (error) {
        if (signal.aborted || !(error instanceof ServiceError)) throw error;
        if (error.status === 401) {
          if (!(await this.askForKey())) throw error;
        } else if (PASSING.includes(error.status) && --tries > 0) {
          await new Promise((resolve) => setTimeout(resolve, 1000 * Math.max(pause, error.retryAfterSeconds)));
          if (signal.aborted) throw error;
          pause = Math.min(2 * pause, LONGEST_PAUSE_SECONDS);
        } else {
          throw error;
        }
      }
    }
  }

  #request(cards, signal) {
    if (!cards.length) return null;
    for (const card of cards) card.send(0);
    return classify(cards, {
      ...this.options(),
      signal,
      onUploaded: (bytes) => {
        for (const card of cards) {
          if (card.isPending) card.send(Math.min(Math.max(bytes / card.file.size, 0), 1));
          bytes -= card.file.size;
        }
      },
      onLine: (index, { predictions, failure }) => {
        if (failure) cards[index].fail(failure.code, failure.message);
        else cards[index].finish(predictions);
        this.onChange();
      },
    });
  }
}
