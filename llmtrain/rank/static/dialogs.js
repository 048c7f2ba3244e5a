// The dialogs: skip with a reason, keys, progress and agreement, a link for another device.
import { api, el } from "./api.js";

const part = (id) => document.getElementById(id);
const REASONS = [
  "I cannot judge this",
  "The prompt makes no sense",
  "All answers are equally bad",
  "An answer is cut off or broken",
  "I do not want to read this",
];
const SINGLE = "rank:single-keys";

const figure = (value) => (value === null ? "–" : value.toFixed(2).replace("-", "−"));
const percent = (value) => (value === null ? "–" : `${Math.round(100 * value)} %`);

export class Dialogs {
  /** `skip(reason)` sends a skip, `ended()` shows that the session is over. */
  constructor({ skip, ended }) {
    this.ended = ended;
    for (const node of document.querySelectorAll("dialog [data-close]"))
      node.addEventListener("click", () => node.closest("dialog").close());
    for (const id of ["skip", "keys", "agreement", "link"])
      part(`open-${id}`).addEventListener("click", () => this.open(id));
    part("reasons").append(...REASONS.map((text, index) => this.reason(text, index)));
    part("skip-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send(skip);
    });
    part("copy").addEventListener("click", () => this.copy());
    part("finish").addEventListener("click", () => this.finish());
    part("single").checked = this.single;
    part("single").addEventListener("change", () => (this.single = part("single").checked));
  }

  /** Single keys can be turned off: somebody who speaks to the computer types many letters (WCAG 2.1.4). */
  get single() {
    try {
      return localStorage.getItem(SINGLE) !== "off";
    } catch {
      return true; // the browser stores nothing
    }
  }

  set single(on) {
    try {
      localStorage.setItem(SINGLE, on ? "on" : "off");
    } catch {
      part("single").checked = true;
    }
  }

  open(id) {
    if (id === "skip") this.clear();
    if (id === "link") this.link();
    if (id === "agreement") this.refresh();
    part(id).showModal();
  }

  reason(text, index) {
    const radio = el("input", { type: "radio", name: "reason", value: text, id: `reason-${index}` });
    return el("label", { for: radio.id }, radio, text);
  }

  clear() {
    part("skip-form").reset();
    part("skip-fault").textContent = "";
  }

  send(skip) {
    const picked = part("skip-form").querySelector("input:checked")?.value;
    const reason = [picked, part("own").value.trim()].filter(Boolean).join(": ");
    if (!reason) {
      part("skip-fault").textContent = "Pick a reason or write one.";
      return;
    }
    part("skip").close();
    skip(reason);
  }

  // --- progress and agreement ---

  /** Asks for the figures; a failure leaves the old ones, since the next ballot will tell of a lost server. */
  async refresh() {
    try {
      this.show(await api("/api/progress"));
    } catch {
      // as said above
    }
  }

  show({ done, total, mine, skipped, raters, agreement, host }) {
    part("finish").hidden = !host;
    part("agreed").textContent = percent(agreement.pairwise);
    const prompts = agreement.n_shared === 1 ? "1 prompt" : `${agreement.n_shared} prompts`;
    part("shared").textContent =
      `${done} of ${total} ballots are in, ${mine} of them yours (${skipped} skipped). ` +
      (agreement.n_shared > 0
        ? `Agreement is measured on ${prompts} that two or more people ranked.`
        : "Agreement shows as soon as two people have ranked the same prompt.");
    part("pairwise").textContent = percent(agreement.pairwise);
    part("tau").textContent = figure(agreement.tau);
    part("alpha").textContent = figure(agreement.alpha);
    const row = ({ name, votes }) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, String(votes)));
    part("raters").querySelector("tbody").replaceChildren(...raters.map(row));
  }

  /** Two presses: the first one asks. */
  async finish() {
    if (!part("finish").classList.contains("sure")) {
      part("finish").classList.add("sure");
      part("finish").textContent = "Nobody can rank after that. End it";
      return;
    }
    await api("/api/finish", {});
    part("agreement").close();
    this.ended();
  }

  // --- another device ---

  async link() {
    part("url").value = "";
    try {
      part("url").value = (await api("/api/link", {})).url;
      part("url").select();
    } catch (error) {
      part("url").value = error.message;
    }
  }

  async copy() {
    part("url").select();
    if (navigator.clipboard) await navigator.clipboard.writeText(part("url").value);
    else document.execCommand("copy"); // by plain http from another machine there is no clipboard
    part("copy").textContent = "Copied";
  }
}
