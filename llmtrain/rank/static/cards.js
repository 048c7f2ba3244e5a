// The answers of one task as cards, made once and then moved and repainted. Text goes in as text nodes alone.
import { el } from "./api.js";
import { FLAGS } from "./ballot.js";
import { draggable } from "./drag.js";

const SAID = { true: "yes", false: "no", undefined: "not said" };
const SIGN = { true: "✓", false: "✗", undefined: "" };
const KEY = { helpful: "H", honest: "o", harmless: "m" }; // the letter of each word that is its key

/** A text of a model or a person: white space kept, its direction its own, and scrollable by key when it is long. */
export function words(text, label) {
  const node = el("div", { class: "text", dir: "auto" }, text);
  new ResizeObserver(() => {
    const long = node.scrollHeight > node.clientHeight + 1;
    node.classList.toggle("long", long);
    if (!long) return ["tabindex", "role", "aria-label"].forEach((name) => node.removeAttribute(name));
    node.tabIndex = 0;
    node.setAttribute("role", "region");
    node.setAttribute("aria-label", label);
  }).observe(node);
  return node;
}

export const letter = (index) => String.fromCharCode(65 + index);

export class Cards {
  /** `act` has rate(id, rank), move(id, step), drop(id, place, other), toggle(id, flag) and select(id). */
  constructor(list, answers, act) {
    this.list = list;
    this.letters = Object.fromEntries(answers.map(({ id }, index) => [id, letter(index)]));
    this.nodes = Object.fromEntries(answers.map((answer) => [answer.id, this.card(answer, answers.length, act)]));
    list.replaceChildren(...Object.values(this.nodes));
  }

  card({ id, text }, count, act) {
    const name = `Answer ${this.letters[id]}`;
    const button = (kind, label, run, ...inside) => el("button", { class: kind, type: "button", "aria-label": label, onclick: run }, ...inside);
    const group = (kind, label, ...inside) => el("div", { class: `group ${kind}`, role: "group", "aria-label": label }, ...inside);
    const digits = Array.from({ length: count }, (_, index) => index + 1);
    const rail = el(
      "div",
      { class: "rail", title: "Drag to order" },
      el("span", { class: "place", "aria-hidden": "true" }),
      el("span", { class: "grip", "aria-hidden": "true" }),
    );
    const tools = el(
      "div",
      { class: "tools" },
      group("ranks", `${name}: rank`, ...digits.map((n) => button("digit", `${name}: rank ${n}`, () => act.rate(id, n), String(n)))),
      group(
        "moves",
        `${name}: move`,
        button("step", `${name}: move up`, () => act.move(id, -1), "↑"),
        button("step", `${name}: move down`, () => act.move(id, 1), "↓"),
      ),
      group("flags", `${name}: flags`, ...FLAGS.map((flag) => this.flag(id, flag, act))),
    );
    const body = el("div", { class: "body" }, el("h3", { class: "letter" }, name), words(text, `Text of answer ${this.letters[id]}`), tools);
    const inner = el("article", { class: "inner", tabindex: 0 }, rail, body);
    const node = el("li", { class: "answer", "data-id": id }, inner);
    inner.addEventListener("focusin", () => act.select(id));
    inner.addEventListener("pointerdown", () => act.select(id));
    draggable(node, rail, this.list, (place, other) => act.drop(id, place, other));
    return node;
  }

  flag(id, flag, act) {
    const title = flag[0].toUpperCase() + flag.slice(1);
    const [before, after] = title.split(KEY[flag]);
    const word = el("span", {}, before, el("span", { class: "key" }, KEY[flag]), after);
    const sign = el("span", { class: "sign", "aria-hidden": "true" });
    return el("button", { class: "flag", type: "button", "data-flag": flag, onclick: () => act.toggle(id, flag) }, word, sign);
  }

  /** "2", "2=" for a tie, "–" while there is none. */
  place(ballot, id) {
    const rank = ballot.ranks[id];
    return rank === null ? "–" : `${rank}${ballot.tied(id) ? "=" : ""}`;
  }

  paint(ballot, selected) {
    this.reorder(ballot.order);
    ballot.order.forEach((id, index) => {
      const node = this.nodes[id];
      const rank = ballot.ranks[id];
      const next = ballot.order[index + 1];
      node.classList.toggle("ranked", rank !== null);
      node.classList.toggle("selected", id === selected);
      node.classList.toggle("joined", rank !== null && next !== undefined && ballot.ranks[next] === rank);
      node.querySelector(".place").textContent = this.place(ballot, id);
      const said = rank === null ? "not ranked" : `rank ${rank}${ballot.tied(id) ? ", tied" : ""}`;
      node.firstChild.setAttribute("aria-label", `Answer ${this.letters[id]}, ${said}`);
      node.querySelectorAll(".digit").forEach((digit, at) => digit.setAttribute("aria-pressed", String(at + 1 === rank)));
      node.querySelectorAll(".flag").forEach((flag) => this.say(flag, ballot.flags[id][flag.dataset.flag], id));
    });
  }

  say(node, value, id) {
    node.dataset.said = SAID[value];
    node.querySelector(".sign").textContent = SIGN[value];
    node.setAttribute("aria-label", `Answer ${this.letters[id]}, ${node.dataset.flag}: ${SAID[value]}`);
  }

  /** Cards glide to their new places, unless the reader wants no motion; the focus stays where it was. */
  reorder(order) {
    const now = [...this.list.children];
    if (order.every((id, index) => now[index] === this.nodes[id])) return;
    const before = new Map(now.map((node) => [node, node.getBoundingClientRect().top]));
    const focused = document.activeElement;
    this.list.append(...order.map((id) => this.nodes[id]));
    if (this.list.contains(focused)) focused.focus({ preventScroll: true });
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const [node, top] of before) {
      const moved = top - node.getBoundingClientRect().top;
      if (moved) node.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], { duration: 180, easing: "ease-out" });
    }
  }
}
