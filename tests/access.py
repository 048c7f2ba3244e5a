"""What a page gives to those who see little, use no mouse or have it read to them: computed in the browser (WCAG 2.2 AA)."""

from typing import Any

# Contrast of every text on what lies behind it, of the edges of controls on what lies around them, and sizes of targets.
MEASURE = """() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => value * a + under[i] * (1 - a)).concat(1);
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(parse(getComputedStyle(at).backgroundColor));
    return layers.reduce((under, layer) => over(layer, under), parse(getComputedStyle(document.body).backgroundColor));
  };
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, two) => {
    const [dark, bright] = [light(one), light(two)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const top = document.querySelector("dialog[open]") ?? document.body;
  const seen = (node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest(".unseen")
    && node.getBoundingClientRect().width > 0 && (top !== document.body || !node.closest("dialog"));
  const named = (node) => `${node.tagName.toLowerCase()}#${node.id}.${node.className} ${node.textContent.trim().slice(0, 30)}`;
  const all = [...top.querySelectorAll("*")].filter(seen);
  const faults = [];
  let texts = 0;
  for (const node of all) {
    const style = getComputedStyle(node);
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (own || (node.matches("input, textarea") && node.value)) {
      texts += 1;
      let opacity = 1;
      for (let at = node; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
      const [r, g, b, a] = parse(style.color);
      const back = behind(node);
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      const ratio = contrast(over([r, g, b, a * opacity], back), back);
      if (ratio < (large ? 3 : 4.5)) faults.push(`text ${ratio.toFixed(2)} ${named(node)}`);
    }
    if (node.matches("button, input:not([type=radio], [type=checkbox]), textarea")) {
      const around = behind(node.parentElement);
      const edge = Math.max(contrast(over(parse(style.borderTopColor), around), around), contrast(behind(node), around));
      const plain = parse(style.borderTopColor)[3] === 0; // known by its text alone, as a link is
      if (!plain && edge < 3) faults.push(`edge ${edge.toFixed(2)} ${named(node)}`);
    }
    if (node.matches("button, input, textarea, a[href]")) {
      const { width, height } = node.getBoundingClientRect();
      if (width < 24 || height < 24) faults.push(`target ${width}x${height} ${named(node)}`);
    }
  }
  const focused = document.activeElement;
  if (focused !== document.body && focused.matches(":focus-visible")) {
    const { outlineColor, outlineStyle } = getComputedStyle(focused);
    const ratio = contrast(parse(outlineColor), behind(focused.parentElement));
    if (outlineStyle === "none" || ratio < 3) faults.push(`ring ${ratio.toFixed(2)} ${named(focused)}`);
  }
  return { texts, faults };
}"""
REACHABLE = """() => {
  const found = [...document.querySelectorAll("button, input, textarea, a[href], [tabindex='0']")]
    .filter((node) => node.checkVisibility({ visibilityProperty: true }));
  found.forEach((node, index) => (node.dataset.stop = index));
  return found.map((node) => node.dataset.stop);
}"""
NAMED = ("button", "textbox", "radio", "checkbox", "link", "progressindicator", "dialog", "article", "region", "group")


def measured(page: Any) -> int:
    """How many texts are on the page (or in its open dialog); fails for one that is hard to read, see or hit."""
    found = page.evaluate(MEASURE)
    assert not found["faults"], "\n".join(found["faults"])
    return int(found["texts"])


def reached_by_tab(page: Any) -> int:
    """How many controls there are; fails unless Tab comes to each of them, and each shows that it has the focus."""
    stops, met = page.evaluate(REACHABLE), set()
    for _ in range(len(stops) + 2):  # from the end the focus goes through the browser's own controls
        page.keyboard.press("Tab")
        met.add(page.evaluate("() => document.activeElement.dataset.stop"))
        measured(page)
    assert met - {None} == set(stops)
    return len(stops)


def named(page: Any) -> int:
    """How many things a screen reader finds that must have a name; fails when one has none."""
    session = page.context.new_cdp_session(page)
    nodes = [node for node in session.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    things = [node for node in nodes if node["role"]["value"] in NAMED]
    nameless = [node["role"]["value"] for node in things if not node.get("name", {}).get("value", "").strip()]
    assert nameless == []
    return len(things)
