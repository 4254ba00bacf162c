// Sends the waiting cards: a few requests at a time, with a few images each. Temporary errors are retried.

import { data, text } from "./messages.js";
import { ServiceError, classify } from "./service.js";

const REQUESTS_AT_ONCE = 3;
const URLS_PER_REQUEST = 32;
const FILES_PER_REQUEST = 8;
const BYTES_PER_REQUEST = 8 << 20; // a slow connection can send this before the request's deadline
const TRIES = 6; // the rate limit is waited for as often as it takes
const LONGEST_PAUSE_SECONDS = 15;
const LIMITED = 429;
const TEMPORARY = [0, 408, 502, 503, 504];
const REFUSED = [200, 400, 401, 422]; // the service would refuse the other images too

export class Run {
  #waiting = [];
  #active = 0;
  #abort = new AbortController();
  #isLimited = false; // the rate limit was reached; from then on each request has one file
  #keyDenied = false; // the user closed the key dialog; reset when images are added

  pausedUntil = 0; // milliseconds, as Date.now()
  pauseReason = ""; // key of a message
  refusal = ""; // why the service refused a whole request

  // `options()` returns the fields of the next request. `askForKey()` resolves to true if there is a key to try.
  constructor({ options, askForKey, onChange }) {
    Object.assign(this, { options, askForKey, onChange });
  }

  get isRunning() { return this.#active > 0 || this.#waiting.length > 0; }

  add(cards) {
    this.#waiting.push(...cards);
    this.#keyDenied = false;
    this.refusal = "";
    this.#start();
    this.onChange();
  }

  cancel() {
    for (const card of this.#waiting.splice(0)) card.cancel();
    this.#abort.abort();
    this.#abort = new AbortController();
    this.pausedUntil = 0;
    this.onChange();
  }

  #start() {
    while (this.#active < REQUESTS_AT_ONCE && this.#waiting.length) this.#work();
  }

  async #work() {
    this.#active++;
    const { signal } = this.#abort;
    while (this.#waiting.length && !signal.aborted) {
      const batch = this.#take();
      try {
        await this.#finish(batch, signal);
      } catch (error) {
        const isRefused = REFUSED.includes(error.status);
        if (isRefused) {
          this.refusal = error.message;
          batch.push(...this.#waiting.splice(0));
        }
        for (const card of batch.filter((card) => card.isPending)) {
          if (signal.aborted || isRefused) card.cancel();
          else card.fail(error.status ? `http_${error.status}` : "unreachable", error.message || text("lost"));
        }
        if (!signal.aborted && !(error instanceof ServiceError)) console.error(error);
      }
      this.onChange();
    }
    this.#active--;
    this.#start(); // images may have been added during a cancellation
    this.onChange();
  }

  // Remove and return the next cards that can share a request: only URLs, or only files.
  #take() {
    const isUrl = Boolean(this.#waiting[0].url);
    const files = this.#isLimited ? 1 : FILES_PER_REQUEST;
    // A page that an older version of the service sent has no max_images.
    const most = Math.min(isUrl ? URLS_PER_REQUEST : files, data.max_images ?? Infinity);
    let count = 0;
    for (let bytes = 0; count < Math.min(most, this.#waiting.length) && Boolean(this.#waiting[count].url) === isUrl; count++) {
      bytes += this.#waiting[count].file?.size ?? 0;
      if (count > 0 && bytes > BYTES_PER_REQUEST) break;
    }
    return this.#waiting.splice(0, count);
  }

  // Returns when no card of the batch is pending. Throws errors that a retry cannot fix.
  async #finish(batch, signal) {
    for (let tries = TRIES, pause = 1; ; ) {
      try {
        return await this.#request(batch.filter((card) => card.isPending), signal);
      } catch (error) {
        if (signal.aborted || !(error instanceof ServiceError)) throw error;
        if (error.status === 401) {
          this.#keyDenied ||= !(await this.askForKey());
          if (this.#keyDenied) throw error;
        } else if (error.status === LIMITED || (TEMPORARY.includes(error.status) && --tries > 0)) {
          if (error.status === LIMITED && batch[0].file) this.#keepOne(batch);
          for (const card of batch.filter((card) => card.isPending)) card.wait();
          await this.#pause(Math.max(pause, error.retryAfterSeconds), error.status, signal);
          if (signal.aborted) throw error;
          pause = Math.min(2 * pause, LONGEST_PAUSE_SECONDS);
        } else {
          throw error;
        }
      }
    }
  }

  // Let all but one file of a refused request wait again. The service counts each file when it arrives, so a request with
  // more files than the limit has left would use it up, and get no answer.
  #keepOne(batch) {
    this.#isLimited = true;
    const [first, ...others] = batch.splice(0).filter((card) => card.isPending);
    batch.push(first);
    for (const card of others) card.wait();
    this.#waiting.unshift(...others);
  }

  #pause(seconds, status, signal) {
    this.pausedUntil = Math.max(this.pausedUntil, Date.now() + 1000 * seconds);
    this.pauseReason = status === LIMITED ? "paused_limit" : status ? "paused_busy" : "paused_lost";
    this.onChange();
    return new Promise((resolve) => {
      setTimeout(resolve, 1000 * seconds);
      signal.addEventListener("abort", resolve);
    });
  }

  #request(cards, signal) {
    if (!cards.length) return null;
    const asked = this.options();
    for (const card of cards) card.showUploaded(0);
    return classify(cards, asked, {
      signal,
      onUploaded: (bytes) => {
        for (const card of cards) {
          if (card.isPending) card.showUploaded(Math.min(Math.max(bytes / card.file.size, 0), 1));
          bytes -= card.file.size;
        }
      },
      onLine: (index, line) => {
        if (line.failure) cards[index].fail(line.failure.code, line.failure.message);
        else cards[index].finish(line, JSON.stringify(asked));
        this.onChange();
      },
    });
  }
}
