"""Model text that means harm: nothing of it runs, loads or breaks the page, and what is shown is what is stored."""

import pytest
from payloads import PAYLOADS
from session import Session, item

from llmtrain.web.visible import visible

TENS = [PAYLOADS[at : at + 10] for at in range(0, len(PAYLOADS), 10)]
LONG = 100_000  # bytes of a line
ODD = item(
    [
        "x" * LONG,
        "word " * (LONG // 5),
        "line\n" * (LONG // 5),
        "שלום \u202eevil\u202c \u2066isolated\u2069 مرحبا abc",
        "zero\u200bwidth\u200d \u00ad \ufeff \x00\x07\x1b[31m\x7f\x85 tab\tand\r\nreturn  two  spaces \n\n end \n",
        "e" + "\u0301" * 500 + " \U000e0041\U000e0042 \U0001f469\u200d\U0001f467",
    ],
    "\u202eWhat does this say?",
    "x" * LONG,
    "And this?\n\n  indented",
)


def shown(page, inside):
    return sorted(page.locator(f"{inside} .text").all_text_contents())


def test_sixty_payloads_run_nothing(tmp_path, chromium):
    name = "<img src=x onerror=__xss('name')>"
    with Session(tmp_path, [item(ten, *reversed(ten)) for ten in TENS], names=(name,)) as session:
        rater = session.enter(chromium, name)
        page, met = rater.page, []
        for done, ten in enumerate(TENS, start=1):
            texts = sorted(map(visible, ten))
            assert shown(page, "#turns") == texts and shown(page, "#answers") == texts
            assert page.evaluate("document.querySelectorAll('.text *').length") == 0
            met += ten
            page.locator(".answer .body").first.hover()
            rater.press("Tab", "ArrowDown", "h")
            page.click("#open-skip")
            page.fill("#own", ten[0][:200])
            page.click("#skip .primary")
            rater.sent(mine=done)
        page.click("#undo")  # the reason of a skip comes back too
        rater.sent(mine=len(TENS) - 1)
        assert visible(TENS[-1][0].strip()) in rater.status()
        page.click("#open-agreement")
        assert name in page.inner_text("#raters")
        assert sorted(met) == sorted(PAYLOADS) and page.title() == "Rank answers"
        assert rater.seen.nothing, rater.seen

        # That a payload would have been seen: a page that made one into markup trips the policy, and the hook tells.
        page.evaluate("payload => { document.body.innerHTML = payload; window.__xss(1); }", PAYLOADS[3])
        page.wait_for_function("() => document.querySelector('img')")
        page.wait_for_timeout(100)
        assert rater.seen.refused and rater.seen.executed
        page.context.close()


@pytest.mark.parametrize("size", [{"width": 1280, "height": 860}, {"width": 360, "height": 740}], ids=["desktop", "phone"])
def test_long_and_odd_texts_stay_in_their_cards(tmp_path, chromium, size):
    with Session(tmp_path, [ODD]) as session:
        rater = session.enter(chromium, viewport=size)
        page = rater.page
        assert shown(page, "#answers") == sorted(map(visible, ODD.responses))
        assert shown(page, "#turns") == sorted(visible(message.content) for message in ODD.messages)
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        heights = page.locator(".answer").evaluate_all("all => all.map(card => card.offsetHeight)")
        assert max(heights) < size["height"]
        long = page.locator("#answers .text.long")
        assert long.count() >= 3 and long.first.get_attribute("tabindex") == "0"
        styles = page.locator(".text").evaluate_all(
            "all => all.map(text => [text.dir, getComputedStyle(text).unicodeBidi, getComputedStyle(text).whiteSpace])"
        )
        assert {tuple(style) for style in styles} == {("auto", "isolate", "pre-wrap")}
        rater.press("1", "2", "3", "4", "5", "6", "Enter")
        page.wait_for_selector("#nothing:not([hidden])")
        assert sorted(session.said()[0]["ranks"].values()) == [1, 2, 3, 4, 5, 6]
        rater.close()
