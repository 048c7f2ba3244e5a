import pytest

from llmtrain.errors import RunError
from llmtrain.web.doors import OPEN_LINKS, Doors

KEY = bytes(range(32))


@pytest.fixture
def doors():
    return Doors(KEY, ["anna", "Jürgen Ω"])


def test_a_link_opens_once_for_the_one_it_was_made_for(doors):
    links = {name: doors.link(name) for name in doors.names}
    for name, token in links.items():
        cookie = doors.redeem(token)
        assert cookie.isascii() and not set(cookie) & set('";, \\')
        assert doors.who(cookie) == name
        assert doors.redeem(token) is None


def test_links_are_random_long_and_fit_a_url(doors):
    links = {doors.link("anna") for _ in range(1000)}
    assert len(links) == 1000
    assert {len(link) for link in links} == {43}  # 32 bytes in base64
    assert all(set(link) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") for link in links)


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "\ud800", "é" * 43, "a" * 100_000])
def test_other_tokens_open_nothing(doors, token):
    doors.link("anna")
    assert doors.redeem(token) is None


def test_only_so_many_links_of_a_name_are_open(doors):
    first, *others = [doors.link("anna") for _ in range(OPEN_LINKS + 1)]
    assert doors.redeem(first) is None
    assert all(doors.redeem(token) for token in others)


def test_a_cookie_outlives_the_process_and_not_the_key(doors):
    cookie = doors.redeem(doors.link("anna"))
    assert Doors(KEY, ["anna"]).who(cookie) == "anna"
    assert Doors(bytes(32), ["anna"]).who(cookie) is None
    assert Doors(KEY, ["ben"]).who(cookie) is None  # no longer one of the people


def test_forged_cookies(doors):
    cookie = doors.redeem(doors.link("anna"))
    word, _, signature = cookie.partition(".")
    other, _, foreign = doors.redeem(doors.link("Jürgen Ω")).partition(".")
    flipped = [cookie[:n] + ("A" if cookie[n] != "A" else "B") + cookie[n + 1 :] for n in range(len(cookie))]
    bad = ["", ".", word, f"{word}.", f".{signature}", f"{other}.{signature}", f"{word}.{foreign}", cookie + "0"]
    bad += [f"{word}.{doors.csrf('anna')}", cookie.upper(), f"{cookie}.{signature}", "é.é", "\ud800." + signature]
    assert [value for value in bad + flipped if doors.who(value) is not None] == []


def test_csrf_tokens_differ_by_name_and_key(doors):
    assert len({doors.csrf("anna"), doors.csrf("Jürgen Ω"), Doors(bytes(32), ["anna"]).csrf("anna")}) == 3
    assert doors.csrf("anna") == Doors(KEY, ["anna"]).csrf("anna")


@pytest.mark.parametrize("names", [[], [""], ["anna", "anna"]], ids=repr)
def test_names_are_different_and_not_empty(names):
    with pytest.raises(ValueError, match="names"):
        Doors(KEY, names)


def test_the_key_file_is_made_once_for_its_owner_alone(tmp_path):
    file = tmp_path / "key"
    cookie = (doors := Doors.keyed(file, ["anna"])).redeem(doors.link("anna"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_bytes()) == 32
    assert Doors.keyed(file, ["anna"]).who(cookie) == "anna"


def test_a_key_that_others_may_read_is_refused(tmp_path):
    file = tmp_path / "key"
    Doors.keyed(file, ["anna"])
    file.chmod(0o644)
    with pytest.raises(RunError, match=f"{file}: others on this machine.*chmod 600"):
        Doors.keyed(file, ["anna"])


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)], ids=len)
def test_a_key_of_another_length_is_refused(tmp_path, content):
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(RunError, match="no key of 32 bytes; remove it"):
        Doors.keyed(file, ["anna"])


def test_a_key_that_cannot_be_written(tmp_path):
    with pytest.raises(RunError, match="cannot be written"):
        Doors.keyed(tmp_path / "nowhere" / "key", ["anna"])
