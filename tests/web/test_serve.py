import logging
import socket
import time
from dataclasses import replace

import pytest
from house import EASY, FREE, House, head, hear, post, talk

from llmtrain.errors import UsageError
from llmtrain.web.hosts import names
from llmtrain.web.limits import Limits
from llmtrain.web.serve import serve


def run(**changes):
    options = dict(host="127.0.0.1", port=0, limits=EASY, announce=lambda url: None, poll=lambda: True) | changes
    serve(House().app, **options)


def brief(**changes):
    return House(Limits(person=FREE, people=FREE, strangers=FREE, seconds=0.3, **changes))


def connect(port):
    return socket.create_connection(("127.0.0.1", port), 5)


def test_announces_the_address_and_ends_when_poll_says_so():
    told, asked = [], []
    run(announce=told.append, poll=lambda: asked.append(time.monotonic()) or len(asked) == 3)
    assert told[0].startswith("http://127.0.0.1:") and int(told[0].rpartition(":")[2]) > 0
    assert 0.15 < asked[1] - asked[0] < 5
    assert len(asked) == 3


def test_the_port_is_free_again_at_once():
    house = House()
    with house.open() as port:
        assert talk(port, head("GET", "/", [("Host", f"127.0.0.1:{port}")])).status == 200
    run(port=port)


def test_what_announce_or_poll_raises_ends_the_server():
    def fails(*_):
        raise KeyError("mine")

    for which in ("announce", "poll"):
        with pytest.raises(KeyError, match="mine"):
            run(**{which: fails})


def test_a_port_in_use_is_an_error_with_a_remedy():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1:{port} cannot be listened on .*page.port, or 0"):
            run(port=port)


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_a_port_that_cannot_be(port):
    with pytest.raises(UsageError, match="cannot be listened on"):
        run(port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", ""])
def test_the_network_needs_an_explicit_word(host):
    with pytest.raises(UsageError, match="opens the page to the network.*allow_remote"):
        run(host=host)


def test_the_network_gets_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        run(host="0.0.0.0", allow_remote=True)
    assert "without encryption" in caplog.text
    with pytest.raises(UsageError, match="192.0.2.7:0 cannot be listened on"):
        run(host="192.0.2.7", allow_remote=True)  # documentation's address: no machine has it


def test_names():
    assert names("127.0.0.1")[0] == "127.0.0.1" and set(names("127.0.0.1")) == {"127.0.0.1", "localhost"}
    assert names("localhost")[0] == "localhost"
    assert names("::1")[0] == "[::1]"
    assert names("192.0.2.7") == ("192.0.2.7",)
    assert {"127.0.0.1", "localhost", socket.gethostname().lower()} < set(names("0.0.0.0"))
    assert "0.0.0.0" not in names("0.0.0.0")


def test_a_head_that_trickles_is_cut_off():
    with brief().open() as port, connect(port) as link:
        start = time.monotonic()
        link.sendall(b"GET / HTTP/1.1\r\n")
        try:
            while time.monotonic() - start < 20:
                link.sendall(b"X: y\r\n")
                time.sleep(0.05)
        except ConnectionError:
            pass
        assert 0.25 < time.monotonic() - start < 10


def test_silence_and_a_body_that_never_comes_are_told_so():
    house = brief()
    with house.open() as port:
        with connect(port) as silent:
            assert hear(silent).status == 408
        waiting = head("POST", "/api/change", [*house.right(port=port), ("Content-Length", "9")])
        answer = talk(port, waiting + b"{")
        assert answer.status == 408 and "0.3 seconds" in answer.json["error"]
        with connect(port) as link:  # the second request of a connection has no more time than the first
            link.sendall(head("GET", "/", [("Host", f"127.0.0.1:{port}")]))
            assert hear(link).status == 200
            link.sendall(b"GET / HT")
            assert hear(link).status == 408


def test_a_reader_that_does_not_read_is_let_go():
    house = brief()
    with house.open() as port, connect(port) as link:
        headers = [pair for pair in house.right(port=port) if pair[0] in ("Host", "Cookie")]
        link.sendall(head("GET", "/api/big", headers))
        link.recv(1, socket.MSG_PEEK)  # the answer has begun
        time.sleep(1)
        got = 0
        try:
            while more := link.recv(1 << 20):
                got += len(more)
        except ConnectionError:
            pass
        assert 0 < got < 32_000_000  # what the kernel had taken, and no more


def test_no_more_connections_than_allowed():
    house = House(replace(EASY, connections=3))
    with house.open() as port:
        asked = head("GET", "/", [("Host", f"127.0.0.1:{port}")])
        kept = [connect(port) for _ in range(3)]
        for link in kept:
            link.sendall(asked)
            assert hear(link).status == 200  # and it stays open
        with connect(port) as over:
            assert hear(over).status == 503
        kept[0].close()
        tried = iter(range(100))
        while ((answer := talk(port, asked)) is None or answer.status == 503) and next(tried) < 99:
            time.sleep(0.02)
        assert answer is not None and answer.status == 200
        for link in kept:
            link.close()


def test_requests_one_behind_the_other_on_a_connection():
    house = House()
    with house.open() as port, connect(port) as link:
        right = house.right(port=port)
        link.sendall(post("/api/change", right, {"n": 1}) + post("/api/change", right, {"n": 2}))
        assert hear(link).status == 200
        deadline = time.monotonic() + 5
        while len(house.changes) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [change["n"] for _, change in house.changes] == [1, 2]


def test_what_follows_a_refusal_on_its_connection_is_never_read():
    house = House()
    with house.open() as port, connect(port) as link:
        right = house.right(port=port)
        wrong = [pair for pair in right if pair[0] != "X-CSRF-Token"]
        link.sendall(post("/api/change", wrong, {"n": 1}) + post("/api/change", right, {"n": 2}))
        assert hear(link).status == 403
        assert link.recv(1) == b""
        assert house.changes == []


def test_a_websocket_is_not_spoken():
    house = House()
    with house.open() as port:
        upgrade = [*house.right(port=port), ("Connection", "Upgrade"), ("Upgrade", "websocket")]
        answer = talk(port, head("GET", "/api/me", upgrade))
        assert answer.status == 200 and answer.json["name"] == "anna"  # a plain answer to a plain GET
