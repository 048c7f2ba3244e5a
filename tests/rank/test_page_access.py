"""The ranking page for those who see little, use no mouse or have it read to them."""

import pytest
from access import measured, named, reached_by_tab
from session import Session, item

TASKS = [item(["ash", "beech", "cedar"], "Name a tree", "ash", "Another one"), item(["crow", "dove"], "Name a bird")]
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 360, "height": 740}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_everything_can_be_read_seen_and_hit(tmp_path, chromium, scheme, size):
    with Session(tmp_path, TASKS) as session:
        rater = session.enter(chromium, viewport=size, color_scheme=scheme)
        page = rater.page
        assert measured(page) > 30
        rater.press("1", "1", "h", "o", "o", "ArrowUp", "m")
        assert measured(page) > 30
        for dialog in ("skip", "keys", "agreement", "link"):
            if page.is_visible(f"#open-{dialog}"):  # there is no list of keys on a phone
                page.click(f"#open-{dialog}")
                assert measured(page) > 3
                if dialog == "skip":
                    page.click("#skip .primary")
                    assert page.is_visible("#skip-fault") and measured(page) > 3
                page.keyboard.press("Escape")
        rater.press("ArrowDown", "2", "Enter")
        rater.sent(mine=1)
        session.server.stop()
        rater.press("1", "2", "Enter")
        page.wait_for_selector("#banner:not([hidden])")
        assert measured(page) > 30
        session.server.start()
        page.click("#again")
        page.wait_for_selector("#nothing:not([hidden])")
        assert measured(page) > 3
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        rater.close()


def test_everything_is_reached_by_tab_and_has_a_name(tmp_path, chromium):
    with Session(tmp_path, TASKS) as session:
        rater = session.enter(chromium)
        assert reached_by_tab(rater.page) == 1 + 3 + 3 * (1 + 3 + 2 + 3) + 3  # link, head, three cards, foot
        assert named(rater.page) > 30
        cards = rater.page.get_by_role("article")
        assert cards.first.get_attribute("aria-label") == "Answer A, not ranked"
        rater.press("a", "1", "1", "2")
        assert [card.get_attribute("aria-label") for card in cards.all()] == [
            "Answer A, rank 1, tied",
            "Answer B, rank 1, tied",
            "Answer C, rank 2",
        ]
        assert "C: rank 2. Order: A = B, C. Enter submits." in rater.page.get_by_role("status").text_content()
        for key in ("s", "?"):
            rater.press(key)
            assert named(rater.page) > 2
            rater.press("Escape")
        rater.close()
