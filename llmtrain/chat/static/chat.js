// A conversation with one or more models. All of it lives here, in this page; each question takes along what its model
// needs of it. What models write becomes text nodes and nothing else.

import { api, el, me, say } from "/static/api.js";

const $ = (id) => document.getElementById(id);
const SPARE = 4096; // bytes of a request that are no messages
const BUSY_SECONDS = 1;
const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

let about = null; // what /api/models says
let rounds = []; // {prompt, answers: {label: {text, tokens, ended, score}}}
let number = 0; // of questions in this page: each has its own draws
let running = null; // the AbortController of the answer that is being written

const known = (answer) => answer?.text?.trim();

/** The conversation as one model knows it, without its oldest turns where the server would not take the body. */
function messages(label, prompt) {
  const turns = rounds
    .filter((round) => known(round.answers[label]) && !$("alone").checked)
    .map((round) => [
      { role: "user", content: round.prompt },
      { role: "assistant", content: round.answers[label].text.replaceAll("\0", "\ufffd") }, // no request holds a NUL
    ]);
  const system = $("system").value.trim() ? [{ role: "system", content: $("system").value }] : [];
  const whole = () => [...system, ...turns.flat(), { role: "user", content: prompt }];
  let dropped = 0;
  while (turns.length && new TextEncoder().encode(JSON.stringify(whole())).length > about.body - SPARE) {
    turns.shift();
    dropped += 2;
  }
  return { list: whole(), dropped };
}

/** POST a question; calls heard(event) for each line that comes. Throws an Error with a sentence for people. */
async function stream(body, signal, heard) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": (await me()).csrf };
  const options = { method: "POST", headers, body: JSON.stringify(body), signal };
  let answer = await fetch("/api/say", options);
  while (answer.status === 503 || answer.status === 429) {
    say($("status"), "The models are answering another window. Waiting; Stop gives up.");
    await wait(BUSY_SECONDS);
    signal.throwIfAborted();
    answer = await fetch("/api/say", options);
  }
  say($("status"));
  if (!answer.ok) {
    const told = await answer.json().catch(() => null);
    throw new Error(told?.error ?? "The server could not answer.");
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    lines.filter(Boolean).forEach((line) => heard(JSON.parse(line)));
  }
}

/** A column: where an answer grows, and what stands below it. */
function column(label) {
  const text = el("p", { class: "text" });
  const foot = el("footer");
  const card = el("article", { class: "card answer", "aria-label": label }, el("h3", {}, label), text, foot);
  return { card, text, foot };
}

function length(answer, dropped) {
  const parts = [`${answer.tokens} token${answer.tokens === 1 ? "" : "s"}`];
  if (answer.stopped) {
    parts.push("stopped");
  } else if (!answer.ended) {
    parts.push("cut off");
  }
  if (answer.unscored) {
    parts.push("no score");
  }
  const left = dropped + (answer.dropped ?? 0);
  if (left) {
    parts.push(`the oldest ${left} messages no longer fit`);
  }
  return parts.join(" · ");
}

/** One model's answer, written into its column. */
async function answer(label, prompt, place, signal) {
  const { list, dropped } = messages(label, prompt);
  const body = { model: label, messages: list, temperature: Number($("temperature").value), number };
  const found = { text: "", tokens: 0, ended: false };
  place.card.classList.add("writing");
  try {
    await stream(body, signal, (event) => {
      if (event.piece !== undefined) {
        place.text.append(event.piece);
        found.text += event.piece;
        found.tokens += 1;
      } else if (event.done) {
        Object.assign(found, event.done);
      } else {
        throw new Error(event.error);
      }
    });
  } catch (error) {
    if (!signal.aborted) {
      place.card.classList.add("failed");
      place.text.textContent = error instanceof TypeError ? "The server does not answer. It may have ended." : error.message;
      return { error: place.text.textContent };
    }
    found.stopped = true;
  } finally {
    place.card.classList.remove("writing");
  }
  place.foot.append(el("span", {}, found.stopped ? "stopped" : length(found, dropped)));
  if (found.score !== undefined) {
    const shown = `${found.score < 0 ? "\u2212" : "+"}${Math.abs(found.score).toFixed(2)}`;
    place.score = el("span", { class: "score", title: `the score of ${about.judged_by}` }, `score ${shown}`);
    place.score.value = Number(found.score.toFixed(2)); // as it is seen, so that what looks alike ranks alike
    place.foot.append(place.score);
  }
  return found;
}

async function ask(prompt) {
  const labels = about.models.map((model) => model.label);
  const places = Object.fromEntries(labels.map((label) => [label, column(label)]));
  const columns = el("div", { class: "columns" }, ...labels.map((label) => places[label].card));
  const section = el("section", { class: "round" }, el("h2", { class: "question text" }, prompt), columns);
  const round = { prompt, answers: {} };
  $("empty").hidden = true;
  $("rounds").append(section);
  section.scrollIntoView({ block: "start", behavior: "smooth" });
  running = new AbortController();
  busy(true);
  const { signal } = running;
  for (const label of labels) {
    if (!signal.aborted) {
      round.answers[label] = await answer(label, prompt, places[label], signal);
    }
  }
  const shown = labels.filter((label) => places[label].score).map((label) => places[label].score);
  const highest = Math.max(...shown.map((badge) => badge.value));
  const best = shown.filter((badge) => badge.value === highest);
  if (best.length < shown.length) {
    best.forEach((badge) => badge.classList.add("best"));
  }
  running = null;
  number += 1;
  rounds.push(round);
  busy(false);
}

function busy(now) {
  $("send").hidden = now;
  $("stop").hidden = !now;
  for (const id of ["reset", "copy", "save"]) {
    $(id).disabled = now || (id !== "reset" && !rounds.length);
  }
  $("prompt").focus();
}

/** What is wrong with the question or the settings, as a sentence; empty when all is well. */
function fault(prompt) {
  const heat = Number($("temperature").value);
  if (!prompt.trim()) {
    return "Write a question first.";
  }
  for (const [what, text] of [["question", prompt], ["system prompt", $("system").value]]) {
    if ([...text].length > about.longest) {
      return `The ${what} has ${[...text].length} characters, and at most ${about.longest} are taken. Shorten it.`;
    }
  }
  if (!$("temperature").value || !(heat === 0 || (heat >= 0.01 && heat <= 100))) {
    return "The temperature must be 0, or between 0.01 and 100.";
  }
  return "";
}

function send() {
  const prompt = $("prompt").value;
  if (running || !about) {
    return;
  }
  const wrong = fault(prompt);
  say($("status"), wrong, Boolean(wrong));
  if (!wrong) {
    $("prompt").value = "";
    ask(prompt);
  }
}

function reset() {
  rounds = [];
  $("rounds").replaceChildren();
  $("empty").hidden = false;
  say($("status"));
  busy(false);
}

function record() {
  const models = about.models.map((model) => model.label);
  const head = { models, judged_by: about.judged_by, system: $("system").value || null };
  return `${JSON.stringify({ ...head, temperature: Number($("temperature").value), rounds }, null, 1)}\n`;
}

function save() {
  const url = URL.createObjectURL(new Blob([record()], { type: "application/json" }));
  el("a", { href: url, download: "chat.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

async function copy() {
  const copied = navigator.clipboard?.writeText(record()) ?? Promise.reject(); // none by plain http from elsewhere
  await copied.then(
    () => say($("status"), "Copied as JSON."),
    () => say($("status"), "The browser did not allow copying. Take Save.", true),
  );
}

async function begin() {
  try {
    about = await api("/api/models");
  } catch (error) {
    say($("status"), error.message, true);
    return;
  }
  const judge = about.judged_by ? ` · scored by ${about.judged_by}` : "";
  $("who").textContent = about.models.map((model) => model.label).join(", ") + judge;
  $("who").title = about.models.map((model) => model.about).join(", ");
  const hint = "has no chat template: all that was said is one text to it, which it goes on with.";
  const untaught = about.models.filter((model) => !model.templated);
  $("hints").append(...untaught.map((model) => el("p", { class: "notice small" }, `${model.label} ${hint}`)));
  $("system").value = about.system;
  $("temperature").value = about.temperature;
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && running?.abort());
  $("stop").addEventListener("click", () => running?.abort());
  $("reset").addEventListener("click", reset);
  $("copy").addEventListener("click", copy);
  $("save").addEventListener("click", save);
  busy(false);
}

begin();
