import json

import pytest

from llmtrain.data.records import Message
from llmtrain.errors import DataError
from llmtrain.rank.outputs import gather


@pytest.fixture
def write(tmp_path):
    def write(name, *rows):
        file = tmp_path / name
        file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return file

    return write


def said(text, ended=True, source="policy"):
    return {"text": text, "ended": ended, "source": source}


def test_rows_as_sample_writes_them(write):
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "?"},
        {"role": "user", "content": "Go"},
    ]
    file = write("outputs.jsonl", {"prompt": messages, "answers": [said("a"), said("b", source="self@1.5")]})
    (item,) = gather([file], 9, None, 0).items
    assert item.messages == (Message("user", "Hi"), Message("assistant", "?"), Message("user", "Go"))
    assert item.responses == ("a", "b") and item.sources == ("policy", "self@1.5")


def test_answers_to_one_prompt_in_two_files_stand_together_and_are_named_after_their_file(write):
    one = write("one.jsonl", {"prompt": "Q", "answers": ["x", "y"]}, {"prompt": "R", "answers": ["x"]})
    two = write("two.jsonl", {"prompt": "Q", "responses": ["y", "z"]})
    found = gather([one, two], 9, None, 0)
    (item,) = found.items
    assert item.responses == ("x", "y", "z") and item.sources == ("one", "one", "two")
    assert found.left_out == {"answers said twice": 1, "prompts with fewer than two different answers": 1}


def test_what_was_cut_off_or_cannot_be_a_row_of_data_is_not_ranked(write):
    answers = [said("a"), said("b"), said("c", ended=False), said(""), said("nul \0")]
    (item,) = (found := gather([write("o.jsonl", {"prompt": "Q", "answers": answers})], 9, None, 0)).items
    assert item.responses == ("a", "b") and found.left_out == {"answers cut off": 3}


def test_too_many_answers_lose_some_by_chance_the_same_ones_each_time(write):
    rows = [{"prompt": f"Q{n}", "answers": [str(i) for i in range(8)]} for n in range(40)]
    file = write("o.jsonl", *rows)
    first, again, other = (gather([file], 3, None, seed).items for seed in (0, 0, 1))
    assert first == again != other
    assert {len(item.responses) for item in first} == {3}
    assert {text for item in first for text in item.responses} == set("01234567")
    assert all(list(item.responses) == sorted(item.responses) for item in first)


def test_limit_counts_items_that_can_be_ranked(write):
    file = write(
        "o.jsonl", {"prompt": "P", "answers": ["a", "a"]}, *({"prompt": p, "answers": ["a", "b"]} for p in "QRS")
    )
    assert [item.messages[0].content for item in gather([file], 9, 2, 0).items] == ["Q", "R"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("no json", ":1: broken JSON"),
        ([1], "not a JSON object"),
        ({"prompt": "Q"}, "no 'answers'"),
        ({"prompt": "Q", "answers": "a"}, "'answers' is not a list"),
        ({"prompt": "Q", "answers": []}, "'answers' is not a list"),
        ({"answers": ["a", "b"]}, "missing key 'prompt'"),
        ({"prompt": "", "answers": ["a", "b"]}, "'prompt' is empty"),
        ({"prompt": "Q", "answers": ["a", 3]}, "'answers' is not a text"),
        ({"prompt": "Q", "answers": ["a", ""]}, "'answers' is empty"),
        ({"prompt": "Q", "answers": [{"ended": True}]}, "missing key 'text'"),
        ({"prompt": "Q", "answers": [{"text": "a", "ended": "yes"}]}, "'ended'"),
        ({"prompt": [{"role": "assistant", "content": "x"}], "answers": ["a", "b"]}, "alternate"),
        ({"prompt": "Q", "answers": ["a", "a"]}, "nothing to rank (1 answers said twice, 1 prompts"),
    ],
)
def test_bad_rows_are_told_with_their_place(write, row, told):
    file = write("o.jsonl", row)
    with pytest.raises(DataError) as caught:
        gather([file], 9, None, 0)
    assert told in str(caught.value) and str(file) in str(caught.value)


def test_all_bad_rows_at_once_but_ten_at_most(write):
    file = write("o.jsonl", *({"prompt": "Q"} for _ in range(12)))
    with pytest.raises(DataError) as caught:
        gather([file], 9, None, 0)
    told = str(caught.value).splitlines()
    assert len(told) == 11 and told[-1] == "and 2 more" and f"{file}:10: no 'answers'" in told[9]
