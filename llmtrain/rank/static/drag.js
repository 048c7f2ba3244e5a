// Dragging a card by its rail, with mouse, pen or finger. The others stand still and show where it would go:
// a line before or after a card, a frame around one that it would tie with.

const SLACK = 5; // px before a press becomes a drag
const EDGE = 90; // px from the top or bottom of the window where it scrolls by itself
const PACE = 14; // px per frame there
const MARKS = ["drop-before", "drop-after", "drop-tie"];

/** Where a pointer at height `y` would drop: [place, card]; upper and lower 30% of a card are beside it. */
function target(list, dragged, y) {
  const cards = [...list.children];
  const hit = cards.find((card) => y < card.getBoundingClientRect().bottom) ?? cards.at(-1);
  if (hit === dragged) return ["stay", hit];
  const { top, height } = hit.getBoundingClientRect();
  const share = (y - top) / height;
  return [share < 0.3 ? "before" : share > 0.7 ? "after" : "tie", hit];
}

/** Calls `dropped(place, id of the other card)` at the end: place is before, after, tie or stay. */
export function draggable(card, handle, list, dropped) {
  let drag = null;

  const draw = () => {
    if (!drag) return;
    const edge = drag.y < EDGE ? -1 : drag.y > innerHeight - EDGE ? 1 : 0;
    if (edge) scrollBy(0, edge * PACE);
    card.style.transform = "none";
    const { top, height } = card.getBoundingClientRect();
    card.style.transform = `translateY(${drag.y - top - Math.min(drag.hold, height / 2)}px)`;
    const [place, other] = placeAt();
    for (const each of list.children) each.classList.remove(...MARKS);
    if (place !== "stay") other.classList.add(`drop-${place}`);
    drag.frame = requestAnimationFrame(draw);
  };

  // The card's own place is that without the transform, which is where its slot is.
  const placeAt = () => {
    const { transform } = card.style;
    card.style.transform = "none";
    const found = target(list, card, drag.y);
    card.style.transform = transform;
    return found;
  };

  const end = (drop) => {
    if (!drag) return;
    const moved = drag.moved;
    const [place, other] = moved ? placeAt() : [];
    cancelAnimationFrame(drag.frame);
    drag = null;
    card.style.transform = "";
    card.classList.remove("dragged");
    list.classList.remove("sorting");
    for (const each of list.children) each.classList.remove(...MARKS);
    removeEventListener("keydown", escape, true);
    if (moved && drop) dropped(place, other.dataset.id);
    if (moved) card.scrollIntoView({ block: "nearest" });
  };

  const escape = (event) => {
    event.stopPropagation();
    event.preventDefault();
    if (event.key === "Escape") end(false);
  };

  handle.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    card.firstChild.focus({ preventScroll: true });
    drag = { from: event.clientY, y: event.clientY, hold: event.clientY - card.getBoundingClientRect().top, moved: false };
  });
  handle.addEventListener("pointermove", (event) => {
    if (!drag) return;
    drag.y = event.clientY;
    if (drag.moved || Math.abs(drag.y - drag.from) < SLACK) return;
    drag.moved = true;
    card.classList.add("dragged");
    list.classList.add("sorting"); // long cards fold, so that the way is short; keep this one under the pointer
    scrollBy(0, card.getBoundingClientRect().top + Math.min(drag.hold, card.offsetHeight / 2) - drag.y);
    addEventListener("keydown", escape, true);
    draw();
  });
  handle.addEventListener("pointerup", () => end(true));
  handle.addEventListener("pointercancel", () => end(false));
}
