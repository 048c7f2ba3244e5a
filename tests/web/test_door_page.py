"""The way in, in a real browser."""

import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from house import House

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def context(browser):
    made = browser.new_context()
    yield made
    made.close()


@pytest.fixture(scope="module")
def house():
    made = House()
    with made.open() as port:
        yield made, f"http://127.0.0.1:{port}"


def shown(page, text):
    page.get_by_text(text).first.wait_for(timeout=5000)


def test_a_link_becomes_a_cookie_that_no_script_reads(house, context):
    made, url = house
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    token = made.doors.link("anna")
    page.goto(f"{url}/#k={token}")
    shown(page, "the page")
    assert page.url == f"{url}/"
    assert not [one for one in asked if token in one and "#" not in one]
    (cookie,) = context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and cookie["path"] == "/"
    assert page.evaluate("document.cookie") == ""
    page.reload()
    shown(page, "the page")


def test_a_wrong_or_used_link_says_what_to_do(house, context):
    made, url = house
    used = made.doors.link("anna")
    made.doors.redeem(used)
    page = context.new_page()
    for address in (f"{url}/#k={used}", f"{url}/#k=<b>wrong"):
        page.goto("about:blank")
        page.goto(address)
        shown(page, "This link does not open the page")
        shown(page, "Open the link that it shows")
    page.goto("about:blank")
    page.goto(url)
    shown(page, "You are not in yet")
    page.goto(f"{url}/#k={made.doors.link('anna')}")  # pasted into the same tab
    shown(page, "the page")


def test_a_link_on_another_site_finds_the_way_in(house, context):
    """The browser keeps a SameSite cookie back at first."""
    made, url = house

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<a id="key" href="{url}/#k={token}">k</a> <a id="bare" href="{url}/">b</a>'.encode())

        def log_message(self, *_):
            pass

    token = made.doors.link("ben")
    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for link in ("#key", "#bare", "#key"):
            page = context.new_page()
            page.goto(f"http://localhost:{server.server_port}/")
            page.click(link)
            shown(page, "the page")
    finally:
        server.shutdown()
        server.server_close()
