"""The page in a real browser: nothing runs, nothing is asked for, and everybody can read it."""

import pytest
import written
from access import measured
from browser import visit
from rank.payloads import PAYLOADS
from test_report_page import hostile

from llmtrain.report import page

# The inks of the texts in pictures, and those of the texts around them, which `measured` holds to their contrast.
INKS = """() => {
  const of = (selector, what) => [...document.querySelectorAll(selector)].map((node) => getComputedStyle(node)[what]);
  return [of(".plot text", "fill"), of("body, .unit", "color")];
}"""


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """A page of hostile texts, and one of a sweep whose settings are hostile."""
    folder = tmp_path_factory.mktemp("pages")
    alone = page.write([hostile(folder / "a", PAYLOADS)]).path
    for n, text in enumerate(PAYLOADS[:12]):
        config, argv = {"note": text}, ["llmtrain ppo", f"note={text}"]
        written.run(folder / "s" / f"{n}-note", name=text, config=config, argv=argv, value=n / 10)
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
def test_every_text_can_be_read_and_every_link_be_hit(scheme, addresses, chromium):
    for address in addresses:
        tab, _ = visit(chromium, address, color_scheme=scheme)
        assert measured(tab) > 50
        inside, around = tab.evaluate(INKS)
        assert inside and set(inside) <= set(around)
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
