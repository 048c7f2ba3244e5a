"""The ranking page in a real browser: by mouse, by keyboard alone, by touch, two at once, and through what breaks."""

import pytest
from session import Session, item

FRUIT = item(["apple", "pear", "plum", "quince"], "Name a fruit", "apple", "Another one")
TREES = item(["ash", "beech", "cedar"], "Name a tree")
BIRDS = item(["crow", "dove"], "Name a bird")


@pytest.fixture
def session(tmp_path):
    with Session(tmp_path, [FRUIT, TREES, BIRDS]) as opened:
        yield opened


def test_a_session_by_mouse(session, chromium):
    rater = session.enter(chromium)
    page = rater.page
    assert page.locator(".turn").all_inner_texts() == ["Person\nName a fruit", "Model\napple", "Person\nAnother one"]
    assert sorted(rater.answers()) == ["apple", "pear", "plum", "quince"] and set(rater.places()) == {"–"}
    page.click("#submit")  # an order that nobody made is no ballot
    assert "no rank yet" in rater.status() and session.said() == []

    first, second, third, fourth = rater.answers()
    rater.drag(fourth, first, 0.1)
    assert rater.answers() == [fourth, first, second, third] and rater.places() == ["1", "2", "3", "4"]
    rater.drag(second, first, 0.5)
    assert rater.answers() == [fourth, first, second, third] and rater.places() == ["1", "2=", "2=", "3"]
    rater.card(third).get_by_role("button", name="helpful").click()
    rater.card(first).get_by_role("button", name="harmless").click(click_count=2)
    page.click("#submit")
    rater.sent(mine=1)
    flags = {third: {"helpful": True}, first: {"harmless": False}}
    ballot = {"ranks": {fourth: 1, first: 2, second: 2, third: 3}, "flags": flags}
    assert session.said() == [ballot]

    for answer, rank in zip(rater.answers(), (3, 1, 2), strict=True):  # number buttons of each card
        rater.card(answer).get_by_role("button", name=f": rank {rank}").click()
    assert rater.places() == ["1", "2", "3"]
    order = rater.answers()
    page.click("#submit")
    rater.sent(mine=2)
    above, below = rater.answers()
    rater.drag(above, below, 0.95)
    assert rater.answers() == [below, above]
    page.click("#submit")
    page.wait_for_selector("#nothing:not([hidden])")
    assert "All is ranked" in page.inner_text("#nothing")
    assert [set(vote["ranks"]) for vote in session.said()] == [set(task.responses) for task in (FRUIT, TREES, BIRDS)]
    assert session.said()[1]["ranks"] == {text: place for place, text in enumerate(order, start=1)}
    rater.close()


def test_a_session_by_keyboard_alone(session, chromium):
    rater = session.enter(chromium)
    first, second, third, fourth = rater.answers()
    rater.press("2", "1", "4", "2")  # the mark goes on by itself
    assert rater.answers() == [second, first, fourth, third] and rater.places() == ["1", "2=", "2=", "3"]
    rater.press("Shift+ArrowUp")  # the marked one, typed last, leaves its tie
    assert rater.answers() == [second, fourth, first, third] and rater.places() == ["1", "2", "3", "4"]
    rater.press("ArrowUp", "]", "h", "o", "o", "m", "m", "m")
    assert rater.answers() == [fourth, second, first, third]
    assert "B harmless: not said" in rater.page.locator("#live").text_content()
    rater.press("Enter")
    rater.sent(mine=1)
    flags = {second: {"helpful": True, "honest": False}}
    ballot = {"ranks": {fourth: 1, second: 2, first: 3, third: 4}, "flags": flags}
    assert session.said() == [ballot]

    rater.press("s", "Enter")
    assert "Pick a reason" in rater.page.inner_text("#skip-fault")
    rater.press("Space", "ArrowDown", "Tab")
    rater.page.keyboard.type("u and s are letters here")
    rater.press("Tab", "Tab", "Enter")
    rater.sent(mine=2)
    assert session.said()[1]["skip"].endswith(": u and s are letters here")

    rater.press("u")
    rater.sent(mine=1)
    assert "skipped this" in rater.status()
    rater.press("u")
    rater.sent(mine=0)
    assert rater.answers() == [fourth, second, first, third] and rater.places() == ["1", "2", "3", "4"]
    said = rater.card(second).locator(".flag").evaluate_all("all => all.map(flag => flag.dataset.said)")
    assert said == ["yes", "no", "not said"]
    rater.press("Enter")
    for left in (2, 1):
        rater.sent(mine=3 - left)
        rater.press(*"1" * len(rater.answers()), "Enter")  # all tied
    rater.page.wait_for_selector("#nothing:not([hidden])")
    assert session.said()[0] == ballot and [max(vote["ranks"].values()) for vote in session.said()] == [4, 1, 1]
    rater.close()


def test_two_raters_at_once(tmp_path, chromium, monkeypatch):
    monkeypatch.setattr("llmtrain.rank.app.OFTEN", 0.0)  # agreement is told anew each time
    with Session(tmp_path, [FRUIT, TREES], names=("Ada", "Bo"), each=2) as session:
        raters = {name: session.enter(chromium, name) for name in ("Ada", "Bo")}
        for done in (1, 2):
            for rater in raters.values():
                answers = rater.answers()
                rater.press(*(str(sorted(answers).index(answer) + 1) for answer in answers), "Enter")
            for rater in raters.values():
                rater.sent(mine=done)
        ballots = [sorted(str(vote) for vote in session.said(name)) for name in raters]
        assert ballots[0] == ballots[1] and len(ballots[0]) == 2
        page = raters["Ada"].page
        page.reload()
        page.click("#open-agreement")
        page.wait_for_function("() => document.getElementById('alpha').textContent === '1.00'")
        assert page.inner_text("#pairwise") == "100 %" and page.inner_text("#tau") == "1.00"
        assert page.locator("#raters tr").all_text_contents() == ["Ada2", "Bo2"]
        raters["Bo"].page.click("#open-agreement")
        assert not raters["Bo"].page.is_visible("#finish") and not session.ended
        page.click("#finish")
        page.click("#finish")  # the first press asks
        page.get_by_text("The session has ended").wait_for()
        assert session.ended
        for rater in raters.values():
            rater.close()


def test_a_reload_keeps_the_ballot_and_undo_brings_it_back(session, chromium):
    rater = session.enter(chromium)
    rater.press("3", "1", "h")
    before = rater.answers(), rater.places()
    rater.page.reload()
    rater.page.wait_for_selector(".answer")
    assert (rater.answers(), rater.places()) == before and set(rater.places()) == {"3", "1", "–"}
    rater.press("ArrowDown", "ArrowDown", "2", "4", "Enter")
    rater.sent(mine=1)
    order, vote = rater.page.evaluate("Object.keys(sessionStorage)"), session.said()
    assert order == []  # nothing of what was sent stays behind
    rater.page.click("#undo")
    rater.sent(mine=0)
    assert rater.places() == ["1", "2", "3", "4"] and session.said() == []
    rater.page.reload()  # also what came back is kept
    rater.page.wait_for_selector(".answer")
    assert rater.places() == ["1", "2", "3", "4"]
    rater.page.click("#submit")
    rater.sent(mine=1)
    assert session.said() == vote
    rater.page.click("#open-skip")
    rater.page.get_by_label("I cannot judge this").check()
    rater.page.click("#skip button.primary")
    rater.sent(mine=2)
    assert session.said()[1] == {"skip": "I cannot judge this"}
    rater.close()


def test_touch_on_a_phone(session, chromium):
    phone = dict(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, device_scale_factor=2)
    rater = session.enter(chromium, **phone)
    page = rater.page
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    first, second, *_ = rater.answers()
    finger = page.context.new_cdp_session(page)

    def touch(kind, *points):
        sent = [{"x": x, "y": y} for x, y in points]
        finger.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": sent})

    rater.card(second).scroll_into_view_if_needed()
    box = rater.card(second).locator(".rail").bounding_box()
    x, y = box["x"] + 20, box["y"] + 30
    touch("Start", (x, y))
    touch("Move", (x, y - 10))
    goal = rater.card(first).bounding_box()
    touch("Move", (x, goal["y"] + 5))
    page.wait_for_selector(".drop-before")
    touch("End")
    assert rater.answers()[:2] == [second, first] and rater.places() == ["1", "2", "3", "4"]

    page.tap("#submit")
    rater.sent(mine=1)
    assert session.said()[0]["ranks"][second] == 1

    x, y = 200, 400
    touch("Start", (x, y))  # a finger on a text scrolls, and moves no card
    for way in range(20, 200, 20):
        touch("Move", (x, y - way))
    touch("End")
    page.wait_for_function("() => scrollY > 100")
    assert set(rater.places()) == {"–"}
    rater.close()


def test_a_server_that_goes_and_comes_back_gets_each_vote_once(session, chromium):
    rater = session.enter(chromium)
    page, keys = rater.page, []
    page.on("request", lambda sent: sent.url.endswith("/vote") and keys.append(sent.post_data_json["key"]))
    rater.press("1", "2", "3", "4")
    session.server.stop()
    rater.press("Enter")
    page.wait_for_selector("#banner:not([hidden])")
    assert "cannot be reached" in page.inner_text("#banner") and "kept" in page.inner_text("#banner")
    assert rater.places() == ["1", "2", "3", "4"]
    session.server.start()
    page.click("#again")
    rater.sent(mine=1)
    assert not page.is_visible("#banner") and len(session.said()) == 1

    def lose_the_answer(route):
        route.fetch()  # it is stored, and the page never hears of it
        route.abort()

    page.route("**/api/vote", lose_the_answer, times=1)
    rater.press("1", "2", "3", "Enter")
    page.wait_for_selector("#banner:not([hidden])")
    assert len(session.said()) == 2
    page.reload()  # what waits to be sent outlives the page
    rater.sent(mine=2)
    assert len(session.said()) == 2 and sorted(rater.answers()) == ["crow", "dove"]
    assert len(keys) >= 4 and len(set(keys)) == 2  # each sent twice or more, always under its own key
    rater.close()


def test_single_keys_can_be_turned_off(session, chromium):
    rater = session.enter(chromium)
    rater.press("?")
    rater.page.get_by_label("Single keys").uncheck()
    rater.press("Escape", "1", "h", "s")
    assert set(rater.places()) == {"–"} and not rater.page.is_visible("#skip")
    rater.press("Shift+ArrowDown")
    assert rater.places() == ["1", "2", "3", "4"]
    rater.close()


# Whatever is done to a ballot: ranks are dense and in the order shown once all are given, and no answer is lost.
WALK = """async () => {
  const { Ballot } = await import("/static/ballot.js");
  const ids = ["a", "b", "c", "d", "e"];
  let seed = 7;
  const draw = (many) => (seed = (seed * 48271) % 2147483647) % many;
  const faults = [];
  for (let round = 0; round < 200; round += 1) {
    const ballot = new Ballot(ids);
    for (let act = 0; act < 30; act += 1) {
      const [one, other] = [ids[draw(5)], ids[draw(5)]];
      [
        () => ballot.rate(one, 1 + draw(5)),
        () => ballot.move(one, draw(2) ? 1 : -1),
        () => ballot.drop(one, ["before", "after", "tie"][draw(3)], other),
      ][round % 4 === 3 ? 0 : draw(3)]();
      const ranks = ballot.order.map((id) => ballot.ranks[id]);
      const dense = ranks.every((rank, at) => rank === (at ? ranks[at - 1] + (rank > ranks[at - 1]) : 1));
      if ([...ballot.order].sort().join() !== ids.join() || (ballot.whole && !dense)) faults.push(ranks);
      const again = new Ballot(ids, JSON.parse(JSON.stringify(ballot.kept())));
      if (JSON.stringify(again.kept()) !== JSON.stringify(ballot.kept())) faults.push(again.kept());
    }
  }
  const by_hand = new Ballot(["a", "b", "c", "d"], { ranks: { a: 1, b: 2, c: 2, d: 3 } });
  by_hand.drop("d", "after", "b"); // between two that are tied: joins them
  const joined = by_hand.tiers().map((tier) => [...tier].sort().join("")).join();
  by_hand.move("c", 1); // leaves the tie downwards
  by_hand.move("a", 1); // steps over a whole tie
  return { faults, joined, left: by_hand.tiers().map((tier) => [...tier].sort().join("")).join() };
}"""


def test_a_ballot_stays_whole_whatever_is_done_to_it(session, chromium):
    rater = session.enter(chromium)
    assert rater.page.evaluate(WALK) == {"faults": [], "joined": "a,bcd", "left": "bd,a,c"}
    rater.close()


def test_what_browsers_keep_from_pages_of_other_machines_is_not_missed(session, chromium):
    """By plain http from elsewhere there is neither crypto.randomUUID nor a clipboard."""
    rater = session.enter(chromium)
    rater.page.add_init_script("delete Crypto.prototype.randomUUID; delete Navigator.prototype.clipboard")
    rater.page.reload()
    rater.page.wait_for_selector("#task:not([hidden])")
    assert rater.page.evaluate("[typeof crypto.randomUUID, typeof navigator.clipboard]") == ["undefined"] * 2
    rater.page.click("#open-link")
    rater.page.wait_for_function("() => document.getElementById('url').value.includes('#k=')")
    rater.page.click("#copy")
    rater.page.get_by_text("Copied").wait_for()
    rater.press("Escape", *"1" * len(rater.answers()), "Enter")
    rater.sent(mine=1)
    rater.close()


def test_a_server_that_goes_when_all_is_ranked_alarms_nobody(session, chromium):
    rater = session.enter(chromium)
    for mine in (1, 2, 3):
        rater.press(*"1" * len(rater.answers()), "Enter")
        rater.sent(mine=mine)
    assert rater.page.inner_text("#nothing-title") == "All is ranked"
    session.server.stop()
    rater.page.click("#look")
    rater.page.get_by_text("The session has ended").wait_for()
    assert not rater.page.is_visible("#banner") and not rater.page.is_visible("#bar-actions")
    rater.page.context.close()
