"""A real browser (Debian's Chromium, driven by Playwright) and a real server on the loopback, for tests of pages."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.types import ASGIApp

from llmtrain.web.limits import Limits
from llmtrain.web.serve import serve


def missing(reason: str) -> None:
    """Skip; but where everything is to be tested, a test that does not run is a failure."""
    if os.environ.get("LLMTRAIN_TEST_ALL"):
        pytest.fail(f"LLMTRAIN_TEST_ALL is set, and {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")  # no longer: while Playwright runs, nothing else in this thread can call asyncio.run
def chromium() -> Iterator[Any]:
    """A Playwright Browser."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        missing("there is no `chromium` on PATH (Debian: apt install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed (pip install playwright; its own browsers are not needed)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Seen:
    """What a page did that it should not have done."""

    executed: list[str] = field(default_factory=list)  # calls of the hook __xss, and dialogs
    foreign: list[str] = field(default_factory=list)  # addresses on other hosts that were asked for
    refused: list[str] = field(default_factory=list)  # violations of the content security policy
    errors: list[str] = field(default_factory=list)  # what no script caught

    @property
    def nothing(self) -> bool:
        return not (self.executed or self.foreign or self.refused or self.errors)


HOOK = """
window.__xss = (...what) => window.__told(`called ${what}`);
document.addEventListener("securitypolicyviolation", (event) => window.__blocked(`${event.violatedDirective} ${event.blockedURI}`));
"""


def visit(browser: Any, url: str, **context: Any) -> tuple[Any, Seen]:
    """A page in a context of its own (its own cookies and storage), at `url`, and what it does. Close page.context."""
    options = {"viewport": {"width": 1280, "height": 860}, "reduced_motion": "reduce"} | context
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(8000)
    seen = Seen()

    def dialog(opened: Any) -> None:
        seen.executed.append(f"dialog {opened.message}")
        opened.dismiss()

    def request(sent: Any) -> None:
        if urlsplit(sent.url).netloc not in ("", urlsplit(url).netloc):
            seen.foreign.append(sent.url)

    page.expose_function("__told", lambda what: seen.executed.append(what))
    page.expose_function("__blocked", lambda what: seen.refused.append(what))
    page.add_init_script(HOOK)
    page.on("dialog", dialog)
    page.on("request", request)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.goto(url)
    return page, seen


class Server:
    """`app()` on a port of the loopback that stays the same when it is started again."""

    def __init__(self, app: Callable[[], ASGIApp]):
        self.app, self.port, self.url = app, 0, ""
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def start(self) -> None:
        listening = threading.Event()
        self._over = threading.Event()

        def announce(url: str) -> None:
            self.url, self.port = url, urlsplit(url).port or 0
            listening.set()

        ends = dict(limits=Limits(), announce=announce, poll=self._over.is_set)
        self._thread = threading.Thread(
            target=serve, args=[self.app()], kwargs=dict(host="127.0.0.1", port=self.port) | ends, daemon=True
        )
        self._thread.start()
        assert listening.wait(10), "the server does not listen"

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(10)
            assert not self._thread.is_alive()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
