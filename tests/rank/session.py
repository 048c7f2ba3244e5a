"""A ranking session for tests of the page: the real store, the real guard, and a rater who uses the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from browser import Seen, Server, visit

import llmtrain.rank
from llmtrain.data.records import Message
from llmtrain.rank.app import routes
from llmtrain.rank.records import Item
from llmtrain.rank.store import Store
from llmtrain.web.assets import assets
from llmtrain.web.doors import Doors
from llmtrain.web.guard import guarded
from llmtrain.web.limits import Limits

STATIC = assets(Path(llmtrain.rank.__file__).parent / "static")
KEY = bytes(range(32))


def item(answers: Sequence[str], *turns: str) -> Item:
    """Turns alternate between user and assistant."""
    roles = ["user", "assistant"] * len(turns)
    messages = [Message(role, turn) for role, turn in zip(roles, turns, strict=False)]
    return Item.of(messages, answers, [f"run{index}" for index in range(len(answers))])


class Session:
    """A server whose store and doors outlive a restart, as a file and a key do."""

    def __init__(self, folder: Path, items: Sequence[Item], names: Sequence[str] = ("Ada",), each: int = 1):
        self.store = Store(f"sqlite:///{folder / 'votes.db'}", each, lease_seconds=600)
        self.store.add(items)
        self.doors = Doors(KEY, names)
        self.ended = False
        self.server = Server(self.app)

    def app(self) -> Any:
        made = routes(self.store, self.doors, KEY, self.finish)
        page = STATIC["rank.html"][1]
        return guarded(made, doors=self.doors, hosts=("127.0.0.1",), limits=Limits(), files=STATIC, page=page)

    def finish(self) -> None:
        self.ended = True

    def __enter__(self) -> "Session":
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self.store.close()

    def enter(self, browser: Any, name: str = "Ada", **context: Any) -> "Rater":
        page, seen = visit(browser, f"{self.server.url}/#k={self.doors.link(name)}", **context)
        page.wait_for_selector("#task:not([hidden]), #nothing:not([hidden])")
        return Rater(page, seen)

    def said(self, rater: str = "Ada") -> list[dict[str, Any]]:
        """The standing votes of a rater, oldest first: by text of the answer, its rank and flags; or the skip."""
        found = []
        for vote in self.store.votes():
            if vote.rater == rater and vote.ballot.ranks is None:
                found.append({"skip": vote.ballot.skip})
            elif vote.rater == rater:
                flags = {text: said for text, said in zip(vote.item.responses, vote.ballot.flags, strict=True) if said}
                found.append({"ranks": dict(zip(vote.item.responses, vote.ballot.ranks, strict=True)), "flags": flags})
        return found


class Rater:
    """What a person sees and does on the page."""

    def __init__(self, page: Any, seen: Seen):
        self.page, self.seen = page, seen

    def close(self) -> None:
        assert self.seen.nothing, self.seen
        self.page.context.close()

    def answers(self) -> list[str]:
        """Texts of the answers as they stand, from top to bottom."""
        return self.page.locator("#answers .text").all_text_contents()

    def places(self) -> list[str]:
        return self.page.locator("#answers .place").all_text_contents()

    def card(self, text: str) -> Any:
        return self.page.locator(".answer").filter(has=self.page.get_by_text(text, exact=True))

    def drag(self, text: str, to: str, share: float) -> None:
        """The card `text` by its rail onto the card `to`, at this share of its height."""
        x, y = middle(self.card(text).locator(".rail"))
        mouse = self.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x, y + 8)  # now the cards fold
        box = self.card(to).bounding_box()
        mouse.move(x, box["y"] + share * box["height"], steps=3)
        mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def sent(self, *, mine: int) -> None:
        """Waits until the server said that this many ballots of the rater stand."""
        self.page.wait_for_function(
            "mine => document.getElementById('count').textContent.endsWith(`, ${mine} yours`)", arg=mine
        )

    def status(self) -> str:
        return self.page.locator("#status").text_content()


def middle(locator: Any) -> tuple[float, float]:
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
