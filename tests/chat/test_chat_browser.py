"""The page in a real browser: a conversation by keyboard, hostile answers, stop, save."""

import json
import threading

import access
import pytest
from browser import Server, chromium, visit  # noqa: F401

from llmtrain.chat.page import application
from llmtrain.chat.panel import Panel, Stop
from llmtrain.rollout.sample import Completion
from llmtrain.web.doors import Doors
from llmtrain.web.limits import Limits

HOSTILE = [
    "<script>__xss(1)</script>",
    "<img src=x onerror=__xss(2)>",
    "</p></article><svg/onload=__xss(3)>",
    '"><iframe srcdoc="<script>parent.__xss(4)</script>">',
    "javascript:__xss(5)",
    "[x](javascript:__xss(6)) ![x](http://evil.example/y.png)",
    "<style>body{display:none}</style><base href=//evil.example>",
    "{{__xss(7)}} ${__xss(8)}",
    "\u202eabc\u2066 \u200b \x1b[31m \0",
    "x" * 50_000,
]
DOORS = Doors(b"k" * 32, ["you"])


class Scripted(Panel):
    """pretrain writes hostile texts, sft tells what it was asked, and waits when it is asked to."""

    def __init__(self, panel):
        super().__init__(list(panel.voices.values()), None, max_new_tokens=24, draws=panel.draws)
        self.asked, self.go = [], threading.Event()

    def answer(self, label, messages, temperature, number, tell):
        self.asked.append((label, [(m.role, m.content) for m in messages], temperature, number))
        return super().answer(label, messages[-1:], temperature, number, tell)

    def _spoken(self, voice, ids, temperature, number, tell):
        text = ""
        try:
            for piece in HOSTILE if voice.label == "pretrain" else ["I ", "see."]:
                text += piece
                tell(piece)
                if voice.label == "sft" and number == 1:
                    while not self.go.wait(0.02):
                        tell("")
        except Stop:
            return Completion([5], False), text, True
        return Completion([5, 1], True), text, False


@pytest.fixture(scope="module")
def scripted(panel):
    return Scripted(panel)


@pytest.fixture(scope="module")
def server(scripted):
    with Server(lambda: application(scripted, None, 0.0, doors=DOORS, hosts=["127.0.0.1"], limits=Limits())) as running:
        yield running


def ask(page, text):
    page.fill("#prompt", text)
    page.press("#prompt", "Enter")


def test_a_conversation_with_hostile_answers(chromium, server, scripted, tmp_path):  # noqa: F811
    page, seen = visit(chromium, f"{server.url}/#k={DOORS.link('you')}")
    page.wait_for_selector("#who:not(:empty)")
    ask(page, "  ")
    assert page.inner_text("#status") == "Write a question first."
    page.click("summary")
    page.fill("#system", "Be kind.")
    page.fill("#temperature", "-3")
    ask(page, "<b>hello</b>")
    assert "must be 0, or between" in page.inner_text("#status")
    page.fill("#temperature", "0.7")
    ask(page, "<b>hello</b>")
    page.wait_for_selector(".answer footer >> text=2 tokens >> nth=1")
    assert page.inner_text(".question") == "<b>hello</b>"
    first, second = page.locator(".answer .text").all()
    shown = first.evaluate("node => node.textContent")
    for text in HOSTILE[:-2]:
        assert text in shown
    assert "⟨U+202E⟩abc⟨U+2066⟩ ⟨U+200B⟩ ⟨U+001B⟩[31m ⟨U+0000⟩" in shown
    assert first.evaluate("node => node.childElementCount") == 0
    assert second.inner_text() == "I see."
    assert page.locator("script").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the page"

    ask(page, "and now?")  # sft waits
    page.wait_for_selector(".round:nth-of-type(2) .answer.writing:nth-of-type(2) >> text=I")
    page.press("#prompt", "Escape")
    page.wait_for_selector(".round:nth-of-type(2) footer >> text=stopped")
    asked = {(label, number): messages for label, messages, _, number in scripted.asked}
    assert {heat for _, _, heat, _ in scripted.asked} == {0.7}
    assert asked["sft", 1] == [
        ("system", "Be kind."),
        ("user", "<b>hello</b>"),
        ("assistant", "I see."),
        ("user", "and now?"),
    ]
    assert "\u202e" in asked["pretrain", 1][2][1], "the model reads what it wrote, not what was shown"

    scripted.go.set()
    ask(page, "the third")  # with two such answers before it, more than a request takes
    page.wait_for_selector(".round:nth-of-type(3) footer >> text=the oldest 2 messages no longer fit")
    page.wait_for_selector("#send:not([hidden])")
    assert [text for _, text in next(m for who, m, _, n in scripted.asked if (who, n) == ("pretrain", 2))][:2] == [
        "Be kind.",
        "and now?",
    ]

    page.check("#alone")
    ask(page, "the fourth")
    page.wait_for_selector(".round:nth-of-type(4) .answer:nth-of-type(2) footer >> text=2 tokens")
    assert next(m for who, m, _, n in scripted.asked if (who, n) == ("sft", 3)) == [
        ("system", "Be kind."),
        ("user", "the fourth"),
    ]

    with page.expect_download() as saving:
        page.click("#save")
    saving.value.save_as(tmp_path / "chat.json")
    saved = json.loads((tmp_path / "chat.json").read_text())
    assert [past["prompt"] for past in saved["rounds"]] == ["<b>hello</b>", "and now?", "the third", "the fourth"]
    assert saved["rounds"][0]["answers"]["pretrain"]["text"] == "".join(HOSTILE)
    page.click("#reset")
    assert page.locator(".round").count() == 0
    assert seen.nothing, seen
    page.context.close()


def test_on_a_phone_all_is_in_reach(chromium, server):  # noqa: F811
    page, seen = visit(chromium, f"{server.url}/#k={DOORS.link('you')}", viewport={"width": 360, "height": 640})
    page.wait_for_selector("#who:not(:empty)")
    ask(page, "hello")
    page.wait_for_selector(".answer footer >> text=2 tokens >> nth=1")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in ("#send", "#reset", "#copy", "#save"):
        box = page.locator(name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360
        assert box["height"] >= 40
    assert seen.nothing, seen
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_and_reached_without_a_mouse(chromium, server, scheme):  # noqa: F811
    page, _ = visit(chromium, f"{server.url}/#k={DOORS.link('you')}", color_scheme=scheme)
    page.wait_for_selector("#who:not(:empty)")
    page.click("summary")
    ask(page, "hello")
    page.wait_for_selector("#send:not([hidden])")
    assert access.measured(page) > 10
    assert access.reached_by_tab(page) == 8  # New, Copy, Save, system, temperature, alone, question, Send
    assert access.named(page) >= 8
    page.context.close()
