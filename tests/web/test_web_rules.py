import json

import pytest
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from llmtrain.web import rules


@pytest.mark.parametrize(
    "value", [{}, {"a": None, "b": [1, 2.5, True, "x"], "c": {"d": []}}, {"k": "Grüße 🦊 \\u0000"}], ids=repr
)
def test_fields_gives_the_object(value):
    assert rules.fields(json.dumps(value).encode()) == value
    assert rules.fields(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting value"),
        (b"[]", "it is no object"),
        (b"null", "it is no object"),
        (b'{"a": 1, "a": 2}', "a key comes twice"),
        (b'{"a": {"b": 1, "b": 2}}', "a key comes twice"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": [-Infinity]}', "-Infinity is no JSON"),
        (b'{"a": [1e999]}', "not finite"),
        (b'{"a": ["\\u0000"]}', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'{"a": "\\ud800"}', "not UTF-8"),
        (b'{"a": "\xff"}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a":' * 30000, "nested too deep"),
        (b'{"a": ' + b"1" * 5000 + b"}", "Exceeds the limit"),
        (b"{} {}", "Extra data"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_fields_refuses(body, reason):
    with pytest.raises(HTTPException) as error:
        rules.fields(body)
    assert error.value.status_code == 400
    assert reason in error.value.detail and len(error.value.detail) < 300


@pytest.mark.parametrize(
    ("asked", "port", "passes"),
    [
        ("127.0.0.1:8080", 8080, True),
        ("LOCALHOST:8080", 8080, True),
        ("localhost", 80, True),
        ("localhost:80", 80, True),
        ("localhost", 8080, False),
        ("localhost:8081", 8080, False),
        ("localhost.:8080", 8080, False),
        ("localhost:08080", 8080, False),
        ("127.1:8080", 8080, False),
        ("[::1]:8080", 8080, False),
        ("", 8080, False),
    ],
)
def test_host(asked, port, passes):
    try:
        assert rules.host(Headers({"host": asked}), frozenset({"127.0.0.1", "localhost"}), port) == asked.lower()
        passed = True
    except HTTPException as error:
        passed = False
        assert error.status_code == 421
    assert passed == passes


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, True),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, True),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),  # a link in a mail
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, False),  # <script src>, <img src>
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, False),  # another port of this machine
        ({"sec-fetch-site": "cross-site"}, False),
        ({"origin": "http://a:1"}, True),
        ({"origin": "http://a:2"}, False),
        ({"origin": "null"}, False),
    ],
    ids=repr,
)
def test_reader(headers, passes):
    if passes:
        rules.reader(Headers(headers), "a:1")
    else:
        with pytest.raises(HTTPException, match="another page"):
            rules.reader(Headers(headers), "a:1")
