// What every page needs to talk to its server: requests with their token, errors as one sentence, and elements that
// hold text and never markup.

const TRIES = 4; // of a request that was told to wait, or that found no server
const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

if (location.hash.startsWith("#k=")) {
  history.replaceState(null, "", location.pathname); // a link that somebody opened who was in already
}

let person = null; // {name, csrf}, asked for once

/** Who is here: {name, csrf}. */
export function me() {
  person ??= api("/api/me").catch((error) => {
    person = null;
    throw error;
  });
  return person;
}

/**
 * The JSON answer of `path`: a GET, or a POST when there is a body. Waits and tries again where the server says "too
 * many requests" or does not answer, so a POST whose effect must come once carries a key of its own. Throws an Error
 * whose message is a sentence for people; its `status` is that of the answer, 0 when there was none. With tries = 1 the
 * caller waits, and can say so.
 */
export async function api(path, body, tries = TRIES) {
  const options = { headers: {} };
  if (body !== undefined) {
    options.method = "POST";
    options.headers = { "Content-Type": "application/json", "X-CSRF-Token": (await me()).csrf };
    options.body = JSON.stringify(body);
  }
  for (let tried = 1; ; tried += 1) {
    const answer = await fetch(path, options).catch(() => null);
    if (answer?.ok) {
      return answer.json();
    }
    const busy = answer?.status === 429;
    if (tried < tries && (busy || answer === null)) {
      await wait(busy ? Math.min(10, Number(answer.headers.get("Retry-After")) || 1) : tried);
      continue;
    }
    const told = await answer?.json().catch(() => null);
    const error = new Error(told?.error ?? "The server does not answer. It may have ended.");
    error.status = answer?.status ?? 0;
    throw error;
  }
}

/** A new element: el("button", {class: "primary", onclick: go}, "Go", otherElement). Strings become text, nothing else. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) {
      element.addEventListener(key.slice(2), value);
    } else if (value === true) {
      element.setAttribute(key, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(key, value);
    }
  }
  element.append(...children);
  return element;
}

/** Show `text` in a place of the page (an element with role=status or alert), or clear it. */
export function say(place, text = "", bad = false) {
  place.classList.add("notice");
  place.classList.toggle("bad", bad);
  place.textContent = text;
}
