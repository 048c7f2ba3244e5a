// What must reach the server once and no more: it waits in this tab's storage under its key until the server has
// answered, through lost connections, a restarted server and a reload of the page.
import { api } from "./api.js";

const OUTBOX = "rank:outbox";
const WAITS = [1, 2, 4, 8]; // seconds between tries; the last one goes on

/** Storage that a browser may refuse (private windows, full): then the page forgets on reload, and works otherwise. */
export const kept = {
  get(name) {
    try {
      return JSON.parse(sessionStorage.getItem(name));
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      if (value === null) sessionStorage.removeItem(name);
      else sessionStorage.setItem(name, JSON.stringify(value));
    } catch {
      // as said above
    }
  },
};

/** Unreachable, overloaded or failing for the moment: what may go better later. */
const passing = (error) => error.status === 0 || error.status === 429 || error.status >= 500;

/** A random UUID. crypto.randomUUID is missing where other machines get the page: by plain http, not from localhost. */
export function unique() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40; // version 4
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

export class Sender {
  /** `trouble(error, seconds to the next try)` is told of each failed try, `trouble(null)` that it is over. */
  constructor(trouble) {
    this.trouble = trouble;
    this.hurry = () => {};
  }

  /** What an earlier life of this page sent without an answer: {path, body}, or null. */
  get left() {
    return kept.get(OUTBOX);
  }

  /** Sends until the server answers. Gives its reply; throws what the server refuses for good. */
  async post(path, body) {
    kept.set(OUTBOX, { path, body });
    try {
      const reply = await this.until(() => api(path, body, 1));
      kept.set(OUTBOX, null);
      return reply;
    } catch (error) {
      // A closed door opens again by the link from the terminal: what was to be sent waits for that.
      if (error.status !== 401) kept.set(OUTBOX, null);
      throw error;
    }
  }

  /** What `ask()` gives, asked again while it may go better later. */
  async until(ask) {
    for (let tries = 0; ; tries += 1) {
      try {
        const reply = await ask();
        this.trouble(null);
        return reply;
      } catch (error) {
        if (!passing(error)) {
          this.trouble(null);
          throw error;
        }
        const seconds = WAITS[Math.min(tries, WAITS.length - 1)];
        this.trouble(error, seconds);
        await this.wait(seconds);
      }
    }
  }

  wait(seconds) {
    return new Promise((done) => {
      const timer = setTimeout(done, seconds * 1000);
      this.hurry = () => {
        clearTimeout(timer);
        done();
      };
    });
  }
}
