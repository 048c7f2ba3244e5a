"""The page in a real browser: nothing runs, nothing is asked for, and everybody can read it."""

import made
import pytest
from browser import visit
from rank.payloads import PAYLOADS
from test_report_page import hostile

from llmtrain.report import page

# The lowest contrast of any text with what is behind it, by the formula of WCAG 2.2 (1.4.3).
CONTRAST = """() => {
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  let worst = [21, ""];
  for (const node of document.querySelectorAll("body, body *")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
    const style = getComputedStyle(node);
    const ink = light(parse(node instanceof SVGElement ? style.fill : style.color).slice(0, 3));
    const ground = light(behind(node));
    const ratio = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    if (ratio < worst[0]) worst = [ratio, node.textContent.slice(0, 60)];
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """A page of hostile texts, and one of a sweep whose settings are hostile."""
    folder = tmp_path_factory.mktemp("pages")
    alone = page.write([hostile(folder / "a", PAYLOADS)]).path
    for n, text in enumerate(PAYLOADS[:12]):
        config, argv = {"note": text}, ["llmtrain ppo", f"note={text}"]
        made.run(folder / "s" / f"{n}-note", name=text, config=config, argv=argv, value=n / 10)
    return [path.as_uri() for path in (alone, page.write([folder / "s"]).path)]


def test_no_hostile_text_runs_and_nothing_is_asked_for(addresses, chromium):
    for address in addresses:
        tab, seen = visit(chromium, address)
        for summary in tab.query_selector_all("summary"):
            summary.click()
        tab.mouse.move(200, 200)
        tab.wait_for_timeout(200)
        assert seen.nothing, seen
        assert tab.evaluate("document.scripts.length + document.images.length + window.frames.length") == 0
        tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(scheme, addresses, chromium):
    """4.5 is what WCAG AA asks for."""
    for address in addresses:
        tab, _ = visit(chromium, address, color_scheme=scheme)
        ratio, text = tab.evaluate(CONTRAST)
        assert ratio >= 4.5, f"{text!r} has {ratio:.2f}"
        tab.context.close()


def test_a_phone_shows_all_of_the_width(addresses, chromium):
    for address in addresses:
        tab, _ = visit(chromium, address, viewport={"width": 360, "height": 740})
        assert tab.evaluate("document.documentElement.scrollWidth") == 360
        tab.context.close()


def test_it_can_be_walked_by_keyboard_and_printed(addresses, chromium):
    tab, _ = visit(chromium, addresses[0])
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.tagName") == "A"
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.pdf(format="A4").startswith(b"%PDF")
    tab.context.close()
