"""Votes to files and back; expected rows by hand, and the reader of rankings as the judge of what was written."""

import json
from pathlib import Path

import pytest

from llmtrain.data import sources
from llmtrain.data.records import Kind, Message, Ranking
from llmtrain.errors import DataError, RunError
from llmtrain.rank.exchange import Written, export_pairs, export_rankings, import_rankings
from llmtrain.rank.records import Ballot, Item, Vote

TALK = (Message("system", "Be short."), Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
PLAIN = (Message("user", "Where does Mira live?"),)
BEN = 1_700_000_000.25  # 2023-11-14 22:13:20 UTC


def vote(responses, ranks, *, rater="anna", messages=PLAIN, flags=(), skip=None, time=0.0):
    item = Item.of(messages, responses, [f"policy {n}" for n in range(len(responses))])
    return Vote(item, rater, Ballot(ranks, skip, flags), time)


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "rankings.jsonl"


VOTES = [
    vote(("mill", "No. \u2028 \x1b[31m", "Grüße 🦊"), (2, 1, 2), messages=TALK, time=BEN,
         flags=({"helpful": True}, {}, {"honest": False, "harmless": True})),
    vote(("x", "y"), (1, 2), rater="ben"),
]  # fmt: skip


def test_a_vote_as_a_line(file):
    assert export_rankings(VOTES, file) == Written(2)
    assert lines(file)[0] == {
        "prompt": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ],
        "responses": ["mill", "No. \u2028 \x1b[31m", "Grüße 🦊"],
        "ranks": [2, 1, 2],
        "annotator": "anna",
        "time": "2023-11-14T22:13:20.250+00:00",
        "flags": [{"helpful": True}, {}, {"honest": False, "harmless": True}],
        "sources": ["policy 0", "policy 1", "policy 2"],
    }
    assert lines(file)[1]["flags"] == [{}, {}]


def test_the_reader_of_rankings_takes_the_file_as_it_is(file):
    export_rankings(VOTES, file)
    first, second = sources.read([str(file)], Kind.ranking).records
    assert first == Ranking(TALK, VOTES[0].item.responses, (2.0, 1.0, 2.0), "anna")
    assert second == Ranking(PLAIN, ("x", "y"), (1.0, 2.0), "ben")


def test_its_prompts_can_be_asked_again(file):
    export_rankings(VOTES, file)
    assert [p.messages for p in sources.read([str(file)], Kind.prompt).records] == [TALK, PLAIN]


def test_what_no_reader_could_use_is_left_out_and_counted(file):
    votes = [
        vote(("a", "b"), None, skip="unclear"),
        vote(("a", "b"), (1, 1)),
        vote(("a", " a\n"), (1, 2)),
        vote(("", "b"), (1, 2)),
        vote(("a\0", "\ud800", "b"), (1, 2, 3)),
        vote(("a", "b"), (2, 1)),
    ]
    told = {"skipped by the rater": 1, "all answers tied": 1, "fewer than two different answers": 3}
    assert export_rankings(votes, file) == Written(1, told)
    assert len(sources.read([str(file)], Kind.ranking).records) == 1


def test_of_answers_that_are_alike_one_is_kept_with_its_best_rank(file):
    flags = ({"helpful": True}, {"honest": True}, {}, {"harmless": True})
    export_rankings([vote(("a", "b", "a ", ""), (3, 2, 1, 4), flags=flags)], file)
    (row,) = lines(file)
    assert (row["responses"], row["ranks"]) == (["a", "b"], [1, 2])
    assert (row["flags"], row["sources"]) == ([{"helpful": True}, {"honest": True}], ["policy 0", "policy 1"])
    assert len(sources.read([str(file)], Kind.ranking).records) == 1


def test_pairs_are_all_that_differ_in_rank(file):
    assert export_pairs([vote(("a", "b", "c"), (1, 2, 2)), vote(("a", "b"), (1, 1))], file) == Written(
        2, {"all answers tied": 1}
    )
    prompt = [{"role": "user", "content": "Where does Mira live?"}]
    said = {text: [{"role": "assistant", "content": text}] for text in "abc"}
    assert lines(file) == [
        {"prompt": prompt, "chosen": said["a"], "rejected": said["b"]},
        {"prompt": prompt, "chosen": said["a"], "rejected": said["c"]},
    ]
    assert [r.responses for r in sources.read([str(file)], Kind.ranking).records] == [("a", "b"), ("a", "c")]


def test_an_export_is_whole_or_not_at_all(file):
    export_rankings(VOTES, file)
    before = file.read_bytes()

    def breaks():
        yield VOTES[1]
        raise KeyError("the database went away")

    with pytest.raises(KeyError):
        export_rankings(breaks(), file)
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]
    with pytest.raises(RunError, match="nowhere/x.jsonl: cannot be written"):
        export_rankings(VOTES, file.parent / "nowhere" / "x.jsonl")


@pytest.fixture
def given(tmp_path):
    def write(name, rows):
        path = tmp_path / name
        text = "".join(json.dumps(row) + "\n" for row in rows) if name.endswith("l") else json.dumps(rows, indent=1)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def short(row):
    return ([m["content"] for m in row["prompt"]], row["responses"], row["ranks"], row["annotator"])


def test_pairs_and_rankings_come_in(given, file):
    hh = "\n\nHuman: q\n\nAssistant: "
    rows = [
        {"prompt": "q", "chosen": "c", "rejected": "r"},
        {"chosen": hh + "c", "rejected": hh + "r", "annotator": "eva"},
        {"prompt": "q", "responses": ["a", "b", "c"], "ranks": [0.5, 7, 0.5], "annotator": "ben"},
    ]
    assert import_rankings([given("a.jsonl", rows)], file) == Written(3)
    assert [short(row) for row in lines(file)] == [
        (["q"], ["c", "r"], [1, 2], ""),
        (["q"], ["c", "r"], [1, 2], "eva"),
        (["q"], ["a", "b", "c"], [1, 2, 1], "ben"),
    ]


def test_an_export_comes_in_again(given, tmp_path, file):
    export_rankings(VOTES, file)
    again = tmp_path / "again.jsonl"
    import_rankings([str(file)], again)
    both = [sources.read([str(path)], Kind.ranking).digest for path in (file, again)]
    assert both[0] == both[1]


FIELDS = {"prompt": "q", "reply-1": "one", "reply-2": "two", "reply-3": "three"}


def sdk(value, **extra):
    return {"id": "1", "fields": FIELDS, "metadata": {}, "suggestions": {}, "vectors": {}, "_server_id": None,
            "responses": {"preference": [{"value": value, "user_id": "u1"}], "comment": [{"value": "fine", "user_id":
            "u1"}], "tags": [{"value": ["short", "kind"], "user_id": "u1"}], **extra}}  # fmt: skip


def test_argilla_as_its_sdk_writes_it(given, file):
    records = [sdk(["reply-2", "reply-3", "reply-1"]), sdk(["reply-1", "reply-2", "reply-3"])]
    assert import_rankings([given("records.json", records)], file) == Written(2)
    assert [short(row) for row in lines(file)] == [
        (["q"], ["two", "three", "one"], [1, 2, 3], "u1"),
        (["q"], ["one", "two", "three"], [1, 2, 3], "u1"),
    ]


def server(*responses, fields=FIELDS):
    return {"fields": fields, "responses": [
        {"values": {"preference": {"value": [{"value": f"reply-{n}", "rank": rank} for n, rank in ranks.items()]}},
         "user_id": user, "status": status} for user, status, ranks in responses]}  # fmt: skip


def test_argilla_as_its_server_says_it(given, file):
    rows = [
        server(
            ("u1", "submitted", {1: 2, 2: 1, 3: 1}), ("u2", "draft", {1: 1, 2: 2}), ("u3", "submitted", {1: 1, 3: 2})
        ),
        server(("u1", "submitted", {1: 1, 2: 1, 3: 1})),
        server(("u1", "discarded", {1: 1, 2: 2, 3: 3})),
        server(fields={"instruction": "q"}),
    ]
    told = {"all answers tied": 1, "records that nobody ranked": 2}
    assert import_rankings([given("a.jsonl", rows)], file) == Written(2, told)
    assert [short(row) for row in lines(file)] == [
        (["q"], ["one", "two", "three"], [2, 1, 1], "u1"),
        (["q"], ["one", "three"], [1, 2], "u3"),
    ]


def test_a_chat_field_and_a_system_field(given, file):
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    fields = {"chat": chat, "system": "s", "reply-1": "x", "reply-2": "y"}
    import_rankings([given("a.jsonl", [server(("u", "submitted", {1: 1, 2: 2}), fields=fields)])], file)
    assert short(lines(file)[0]) == (["s", "a", "b", "c"], ["x", "y"], [1, 2], "u")


BAD = [
    ({"question": "q"}, "no chosen and rejected"),
    ([1], "not an object"),
    ({"prompt": "q", "chosen": "c", "rejected": "c"}, "chosen and rejected are identical"),
    ({"fields": [], "responses": {}}, "'fields' is not an object"),
    ({"fields": FIELDS, "responses": "x"}, "'responses' is not a list of objects"),
    ({"fields": FIELDS, "responses": [{"user_id": "u"}]}, "missing key 'values'"),
    ({"fields": FIELDS, "responses": [{"values": []}]}, "'responses.values' is not an object"),
    (sdk(["reply-1", "reply-1"]), "an answer is ranked twice"),
    (sdk(["reply-1", "reply-2"], other=[{"value": ["reply-2", "reply-1"]}]), "several questions rank the answers"),
    (server(("u", "submitted", {1: 1, 2: "b", 3: 1})), "'ranks' holds something that is not a finite number"),
    (server(("u", "submitted", {1: 1, 2: 2}), fields={"reply-1": "a", "reply-2": "b"}), "the prompt .*there are none"),
    (server(("u", "submitted", {1: 1, 2: 2}), fields=FIELDS | {"context": "x"}), "there are prompt, reply-3, context"),
    (server(("u", "submitted", {1: 1, 2: 2}), fields=FIELDS | {"reply-2": "one", "reply-3": None}), "identical"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "reason"), BAD, ids=[reason[:40] for _, reason in BAD])
def test_a_bad_row_is_told_with_its_place(given, file, row, reason):
    path = given("a.jsonl", [{"prompt": "q", "chosen": "c", "rejected": "r"}, row])
    with pytest.raises(DataError, match=rf"1 bad rows:\n{path}:2: .*{reason}"):
        import_rankings([path], file)
    assert not file.exists()
    assert import_rankings([path], file, skip_bad=True).rows == 1


def test_ten_bad_rows_are_told_and_the_rest_counted(given, file):
    path = given("a.jsonl", [{"x": n} for n in range(13)])
    with pytest.raises(DataError) as error:
        import_rankings([path], file)
    first, *told, more, _ = str(error.value).splitlines()
    assert (first, more) == ("13 bad rows:", "... and 3 more")
    assert [line.split(": ")[0] for line in told] == [f"{path}:{n}" for n in range(1, 11)]
    with pytest.raises(DataError, match="no ranking in it .13 x no chosen and rejected"):
        import_rankings([path], file, skip_bad=True)


def test_a_file_is_not_read_and_written_at_once(given):
    path = given("a.jsonl", [{"prompt": "q", "chosen": "c", "rejected": "r"}])
    with pytest.raises(DataError, match="read and written at once"):
        import_rankings([path], Path(path))
