// The page of one rater: shows a task, takes a ballot by mouse, finger or key, sends it, shows the next.
import { el, me as whoAmI } from "./api.js";
import { Ballot } from "./ballot.js";
import { Cards, letter, words } from "./cards.js";
import { Dialogs } from "./dialogs.js";
import { Sender, kept, unique } from "./send.js";

const part = (id) => document.getElementById(id);
const SPEAKER = { system: "System", user: "Person", assistant: "Model" };
const LOOK_AGAIN = 15_000; // ms; somebody's lease may have run out
const REFRESH = 30_000; // ms between looks at what the others did

let me = null; // {name, csrf}
let task = null;
let ballot = null;
let cards = null;
let selected = null;
let progress = null;
let busy = true;
let over = false;

const say = (text) => {
  part("status").textContent = text;
  part("live").textContent = text;
};
const name = (id) => cards.letters[id];

// --- what is shown --------------------------------------------------------------------------------------------------

const whole = () => progress !== null && progress.done >= progress.total;

const sender = new Sender((error, seconds) => {
  const left = error?.status === 0 && task === null && whole() && sender.left?.path === "/api/next";
  if (left && !over) ended(); // with every ballot in, the server goes of its own accord
  part("banner").hidden = error === null || left;
  if (error === null) return;
  const what = error.status === 0 ? "The server cannot be reached." : error.message;
  const safe = "What you entered is kept in this tab and sent again until it is stored; it counts once.";
  part("trouble").textContent = `${what} ${safe} Next try in ${seconds} s. If the session is over, close this page.`;
});

function turn({ role, content }) {
  const who = SPEAKER[role] ?? role;
  const kind = role in SPEAKER ? role : "system";
  return el("li", { class: `turn ${kind}` }, el("h3", { class: "speaker" }, who), words(content, `${who} said`));
}

function show(reply) {
  ({ task } = reply);
  progress = reply.progress;
  showProgress();
  part("bar-actions").hidden = false;
  part("task").hidden = task === null;
  part("nothing").hidden = task !== null;
  for (const id of ["submit", "open-skip"]) part(id).hidden = task === null;
  if (task === null) return showNothing();
  ballot = new Ballot(task.answers.map(({ id }) => id), task.ballot ?? kept.get(`rank:draft:${task.id}`));
  part("turns").replaceChildren(...task.messages.map(turn));
  cards = new Cards(part("answers"), task.answers, acts);
  selected = ballot.order[0];
  part("last-rank").textContent = task.answers.length;
  part("last-letter").textContent = letter(Math.min(task.answers.length, 7) - 1); // h is a flag
  if (task.ballot) kept.set(`rank:draft:${task.id}`, ballot.kept());
  paint();
  scrollTo(0, 0);
}

function showNothing() {
  part("nothing-title").textContent = whole() ? "All is ranked" : "Nothing left for you";
  part("nothing-text").textContent = whole()
    ? `Every prompt has its ballots; ${progress.mine} of them are yours. Thank you. You may close this page.`
    : `You have judged every prompt that is open to you: ${progress.mine}. What comes free appears here.`;
}

function ended() {
  over = true;
  show({ task: null, progress });
  part("nothing-title").textContent = "The session has ended";
  part("nothing-text").textContent = "Every ballot is stored. You may close this page.";
  part("bar-actions").hidden = true;
  part("look").hidden = true;
}

function showProgress() {
  const { done, total, mine } = progress;
  part("bar").max = Math.max(total, 1);
  part("bar").value = done;
  part("count").textContent = `${done} of ${total} ballots, ${mine} yours`;
}

function paint() {
  cards.paint(ballot, selected);
  part("submit").classList.toggle("ready", ballot.whole);
}

// --- what a rater does ----------------------------------------------------------------------------------------------

function changed(text) {
  kept.set(`rank:draft:${task.id}`, ballot.begun ? ballot.kept() : null);
  paint();
  say(text);
}

const placed = (id) => `${name(id)}: rank ${ballot.ranks[id]}${ballot.tied(id) ? ", tied" : ""}`;
const order = () => ballot.tiers().map((tier) => tier.map(name).join(" = ")).join(", ");
const free = (act) => (...values) => busy || task === null || act(...values);

const acts = {
  rate: free((id, rank) => {
    ballot.rate(id, rank);
    const rest = ballot.order.filter((each) => ballot.ranks[each] === null);
    const then = rest.length > 0 ? `${rest.length} to go.` : `Order: ${order()}. Enter submits.`;
    changed(`${placed(id)}. ${then}`);
  }),
  move: free((id, step) => {
    ballot.move(id, step);
    changed(`${placed(id)}. Order: ${order()}.`);
    cards.nodes[id].scrollIntoView({ block: "nearest" });
  }),
  drop: free((id, place, other) => {
    ballot.drop(id, place, other);
    selected = id;
    changed(`${placed(id)}. Order: ${order()}.`);
  }),
  toggle: free((id, flag) => {
    const value = ballot.toggle(id, flag);
    changed(`${name(id)} ${flag}: ${{ true: "yes", false: "no", undefined: "not said" }[value]}`);
  }),
  select: free((id) => {
    if (selected === id) return;
    selected = id;
    paint();
  }),
};

function mark(id) {
  selected = id;
  paint();
  const inner = cards.nodes[id].firstChild;
  inner.focus({ preventScroll: true });
  cards.nodes[id].scrollIntoView({ block: "nearest" });
}

function rateByKey(rank) {
  const count = ballot.order.length;
  if (rank > count) return say(`There are ${count} answers: keys 1 to ${count}.`);
  const at = ballot.order.indexOf(selected);
  acts.rate(selected, rank);
  // On to the next one without a rank, so that "2 1 3 3" ranks four answers from top to bottom.
  const ahead = [...ballot.order.slice(at + 1), ...ballot.order.slice(0, at)];
  const next = ballot.whole ? selected : ahead.find((id) => ballot.ranks[id] === null);
  const text = part("live").textContent;
  mark(next ?? selected);
  if (next && next !== selected) say(`${text} Now ${name(next)}.`);
}

async function send(path, body, done) {
  if (busy) return;
  busy = true;
  document.body.classList.add("busy");
  let gone = false;
  try {
    show(await sender.post(path, body));
    done();
  } catch (error) {
    gone = refused(error, path);
  } finally {
    busy = false;
    document.body.classList.remove("busy");
  }
  if (gone) await send("/api/next", {}, () => {});
}

/** Shows why; gives whether to go on with another task. */
function refused(error, path) {
  if (error.status === undefined) throw error; // no word of the server, but a fault of this page

  if (error.status === 401) {
    part("banner").hidden = false;
    part("trouble").textContent =
      "You are not let in any more. Open the link from the terminal in this tab; what you entered is kept.";
    return false;
  }
  say(error.message);
  return path === "/api/vote" && [404, 409].includes(error.status); // this task is gone: on to the next
}

function forget(id, text) {
  return () => {
    kept.set(`rank:draft:${id}`, null);
    say(task === null ? text : `${text} Next prompt.`);
    part(task === null ? "nothing-title" : "conversation-title").focus({ preventScroll: true });
  };
}

function submit() {
  if (busy || task === null) return;
  const open = ballot.order.filter((id) => ballot.ranks[id] === null);
  if (open.length > 0) {
    mark(open[0]);
    say(`${open.map(name).join(", ")} ${open.length > 1 ? "have" : "has"} no rank yet.`);
    return;
  }
  const flags = Object.fromEntries(Object.entries(ballot.flags).filter(([, said]) => Object.keys(said).length > 0));
  const body = { key: unique(), task: task.id, ranks: ballot.ranks, flags };
  send("/api/vote", body, forget(task.id, "Stored."));
}

function skip(reason) {
  send("/api/vote", { key: unique(), task: task.id, skip: reason }, forget(task.id, "Skipped."));
}

function undo() {
  send("/api/undo", { key: unique() }, () => {
    if (task?.ballot?.skip) say(`You had skipped this: ${task.ballot.skip}`);
    else say(task?.ballot ? "Your last ballot is back." : "Nothing to undo.");
    if (task) part("conversation-title").focus({ preventScroll: true });
  });
}

// --- keys -----------------------------------------------------------------------------------------------------------

function step(by) {
  const at = ballot.order.indexOf(selected);
  const id = ballot.order[Math.min(Math.max(at + by, 0), ballot.order.length - 1)];
  mark(id);
  say(`Answer ${name(id)}, ${ballot.ranks[id] === null ? "not ranked" : placed(id)}`);
}

const single = {
  s: () => dialogs.open("skip"),
  u: undo,
  h: () => acts.toggle(selected, "helpful"),
  o: () => acts.toggle(selected, "honest"),
  m: () => acts.toggle(selected, "harmless"),
  "[": () => acts.move(selected, -1),
  "]": () => acts.move(selected, 1),
};

// Enter presses the button that somebody came to by Tab, and submits after a click on one.
let tabbed = false;
addEventListener("pointerdown", () => (tabbed = false), true);
addEventListener("keydown", (event) => (tabbed ||= event.key === "Tab"), true);

function key(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return false;
  if (event.key === "?") return dialogs.open("keys");
  if (task === null) return event.key.toLowerCase() === "u" && dialogs.single ? undo() : false;
  const scrolls = document.activeElement.matches(".text");
  const arrow = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (arrow && event.shiftKey) return acts.move(selected, arrow);
  if (arrow) return scrolls ? false : step(arrow);
  if (event.key === "Enter") return tabbed && document.activeElement.matches("button, a") ? false : submit();
  if (!dialogs.single) return false;
  // The upper row of a French keyboard types other signs without Shift: there the place of the key counts.
  const digit = /^[1-9]$/.test(event.key) ? event.key : /^Digit([1-9])$/.exec(event.shiftKey ? "" : event.code)?.[1];
  if (digit) return rateByKey(Number(digit));
  const pressed = event.key.toLowerCase();
  if (pressed in single) return single[pressed]();
  const chosen = task.answers.findIndex((_, index) => letter(index).toLowerCase() === pressed);
  return chosen >= 0 ? (mark(task.answers[chosen].id), say(`Answer ${letter(chosen)}`)) : false;
}

addEventListener("keydown", (event) => {
  if (key(event) !== false) event.preventDefault();
});

// --- start ----------------------------------------------------------------------------------------------------------

const dialogs = new Dialogs({ skip, ended });
part("submit").addEventListener("click", submit);
part("undo").addEventListener("click", undo);
part("again").addEventListener("click", () => sender.hurry());
const look = (otherwise) => send("/api/next", {}, () => say(task ? "A prompt is here." : otherwise));
part("look").addEventListener("click", () => look("Nothing yet."));
setInterval(() => task === null && !over && look(""), LOOK_AGAIN);
setInterval(() => document.hidden || over || dialogs.refresh(), REFRESH);

async function start() {
  me = await sender.until(whoAmI);
  part("name").textContent = me.name;
  dialogs.refresh();
  history.replaceState(null, "", "/"); // a link that was opened by somebody who is in already
  const { path, body } = sender.left ?? { path: "/api/next", body: {} };
  busy = false;
  await send(path, body, () => {});
  if (task === null && part("nothing").hidden) await send("/api/next", {}, () => {});
}

start().catch(refused);
