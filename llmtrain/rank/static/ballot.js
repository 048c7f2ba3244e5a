// One ballot as it grows: the order shown, the rank of each answer (from 1, equal for a tie, null while it has none)
// and its flags (true, false, or absent for "not said"). Knows nothing of the page.

export const FLAGS = ["helpful", "honest", "harmless"];

export class Ballot {
  /** `saved` is what `kept()` or the server gave for the same answers; other answers' ballots are not taken. */
  constructor(ids, saved = null) {
    this.order = [...ids];
    this.ranks = Object.fromEntries(ids.map((id) => [id, null]));
    this.flags = Object.fromEntries(ids.map((id) => [id, {}]));
    if (saved) this.restore(saved);
  }

  restore({ order, ranks, flags }) {
    const known = (ids) => ids.every((id) => id in this.ranks);
    if (order && order.length === this.order.length && known(order)) this.order = [...order];
    if (ranks && known(Object.keys(ranks))) Object.assign(this.ranks, ranks);
    for (const [id, said] of Object.entries(flags ?? {})) if (id in this.flags) this.flags[id] = { ...said };
    if (this.whole) this.settle();
  }

  kept() {
    return { order: this.order, ranks: this.ranks, flags: this.flags };
  }

  get whole() {
    return this.order.every((id) => this.ranks[id] !== null);
  }

  get begun() {
    return this.order.some((id) => this.ranks[id] !== null || Object.keys(this.flags[id]).length > 0);
  }

  tied(id) {
    return this.ranks[id] !== null && this.order.some((other) => other !== id && this.ranks[other] === this.ranks[id]);
  }

  /** The answers in groups of equal rank, best first; each one without a rank stands alone behind them. */
  tiers() {
    const ranked = this.order.filter((id) => this.ranks[id] !== null);
    const values = [...new Set(ranked.map((id) => this.ranks[id]))].sort((a, b) => a - b);
    const rest = this.order.filter((id) => this.ranks[id] === null);
    return [...values.map((value) => ranked.filter((id) => this.ranks[id] === value)), ...rest.map((id) => [id])];
  }

  /** Order and ranks as these groups say: ranks without gaps. */
  arrange(tiers) {
    const filled = tiers.filter((tier) => tier.length > 0);
    this.order = filled.flat();
    filled.forEach((tier, index) => tier.forEach((id) => (this.ranks[id] = index + 1)));
  }

  settle() {
    this.arrange(this.tiers());
  }

  /** The order shown stays while some have no rank, so that ranks can be typed from top to bottom. */
  rate(id, rank) {
    this.ranks[id] = rank;
    if (this.whole) this.settle();
  }

  /** A tied answer leaves its tie; any other steps over the next group. At either end nothing moves but ranks are given. */
  move(id, step) {
    const tiers = this.tiers();
    const at = tiers.findIndex((tier) => tier.includes(id));
    const alone = tiers[at].length === 1;
    tiers[at] = tiers[at].filter((other) => other !== id);
    const to = alone ? Math.min(Math.max(at + step, 0), tiers.length - 1) : at + (step > 0 ? 1 : 0);
    if (alone) tiers.splice(at, 1);
    tiers.splice(to, 0, [id]);
    this.arrange(tiers);
  }

  /** Puts an answer before, after or on another ("before", "after", "tie"); between two tied ones it joins them. */
  drop(id, place, other) {
    if (id !== other) {
      const beside = this.order.filter((each) => each !== id);
      const neighbour = beside[beside.indexOf(other) + (place === "after" ? 1 : -1)];
      const tiers = this.tiers().map((tier) => tier.filter((each) => each !== id));
      const at = tiers.findIndex((tier) => tier.includes(other));
      if (place === "tie" || tiers[at].includes(neighbour)) tiers[at].push(id);
      else tiers.splice(place === "after" ? at + 1 : at, 0, [id]);
      this.arrange(tiers);
    } else this.settle();
  }

  /** Not said, yes, no, not said ...; gives the new state: true, false or undefined. */
  toggle(id, flag) {
    const next = { undefined: true, true: false }[String(this.flags[id][flag])];
    if (next === undefined) delete this.flags[id][flag];
    else this.flags[id][flag] = next;
    return next;
  }
}
