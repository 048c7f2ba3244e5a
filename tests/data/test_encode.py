from collections import Counter

import pytest

from llmtrain.data import encode
from llmtrain.data.records import Chat, Kind, Message, Prompt, Ranking, Text
from llmtrain.errors import InitError
from llmtrain.text import tokenizers

Q, A = Message("user", "why is it so?"), Message("assistant", "because. good")


def run(records, kind, tokenizer, max_length=1000):
    notes = Counter()
    return list(encode.rows(records, kind, tokenizer, max_length, notes)), notes


def ids_of(tokenizer, text):
    return tokenizer(text)["input_ids"]


def test_text_is_closed_by_one_end_and_never_cut(bpe):
    (row,), notes = run([Text("hello <|end|> é")], Kind.text, bpe, 2)
    assert row["ids"][-1] == 1
    assert row["ids"].count(1) == 1
    assert bpe.decode(row["ids"][:-1]) == "hello <|end|> é"
    assert row["bytes"] == [len("hello <|end|> ") + 2]
    assert not notes


def test_chat_ends_with_the_end_token_which_counts(bpe):
    (row,), _ = run([Chat((Q, A))], Kind.chat, bpe)
    answer = ids_of(bpe, A.content)
    assert row["ids"] == [3, *ids_of(bpe, Q.content), 1, 4, *answer, 1]
    assert row["mask"][-len(answer) - 1 :] == [True] * (len(answer) + 1)
    assert sum(row["mask"]) == len(answer) + 1


def test_chat_too_long_loses_its_end_but_no_prompt(bpe):
    """A4, A7: the start is kept; a cut answer has no end token."""
    whole = run([Chat((Q, A))], Kind.chat, bpe)[0][0]["ids"]
    (row,), notes = run([Chat((Q, A))], Kind.chat, bpe, len(whole) - 1)
    assert row["ids"] == whole[:-1]
    assert notes == {encode.CUT: 1}
    assert row["ids"].count(1) == 1  # the one behind the question


def test_chat_whose_prompt_fills_the_length_is_dropped_and_counted(bpe):
    prompt = len(ids_of(bpe, Q.content)) + 3
    rows, notes = run([Chat((Q, A)), Chat((Message("user", "x"), A))], Kind.chat, bpe, prompt)
    assert [row["row"] for row in rows] == [[1]]
    assert notes[encode.PROMPT_TOO_LONG] == 1
    assert all(True in row["mask"] for row in rows)


def test_chat_is_cut_behind_the_last_token_that_counts(bpe):
    """A cut inside the second question leaves nothing behind the first answer."""
    first = run([Chat((Q, A))], Kind.chat, bpe)[0][0]
    rows, notes = run([Chat((Q, A, Q, A))], Kind.chat, bpe, len(first["ids"]) + 3)
    assert rows[0]["ids"] == first["ids"]
    assert notes == {encode.CUT: 1}


def test_ranking_shares_the_prompt_and_closes_each_response(bpe):
    record = Ranking((Q,), ("good", "bad answer", "because."), (2.0, 1.0, 2.0))
    (row,), _ = run([record], Kind.ranking, bpe)
    assert row["prompt"] == [3, *ids_of(bpe, Q.content), 1, 4]
    expected = [[*ids_of(bpe, text), 1] for text in record.responses]
    assert row["response_lengths"] == [len(ids) for ids in expected]
    assert row["responses"] == sum(expected, [])
    assert row["ranks"] == [2.0, 1.0, 2.0]


def test_ranking_of_chat_ids_is_what_sft_trains_on(bpe):
    (ranking,), _ = run([Ranking((Q,), (A.content, "bad"), (1.0, 2.0))], Kind.ranking, bpe)
    (chat,), _ = run([Chat((Q, A))], Kind.chat, bpe)
    assert ranking["prompt"] + ranking["responses"][: ranking["response_lengths"][0]] == chat["ids"]


def test_over_long_rankings_are_dropped_and_counted(bpe):
    prompt, short, long = len(ids_of(bpe, Q.content)) + 3, "good", "because. " * 20
    records = [Ranking((Q,), (short, "bad"), (1.0, 2.0)), Ranking((Q,), (short, long), (1.0, 2.0))]
    rows, notes = run(records, Kind.ranking, bpe, prompt + 10)
    assert [row["row"] for row in rows] == [[0]]
    assert notes == {encode.RESPONSE_TOO_LONG: 1}
    rows, notes = run(records, Kind.ranking, bpe, prompt)
    assert rows == []
    assert notes == {encode.PROMPT_TOO_LONG: 2}


def test_prompt_ends_with_the_header_of_the_answer(bpe):
    (row,), _ = run([Prompt((Q, A, Q))], Kind.prompt, bpe)
    assert row["ids"][-2:] == [1, 4]
    rows, notes = run([Prompt((Q, A, Q))], Kind.prompt, bpe, len(row["ids"]) - 1)
    assert (rows, notes) == ([], {encode.PROMPT_TOO_LONG: 1})


def test_rows_are_numbered_over_batches(bpe):
    rows, _ = run([Text(str(n)) for n in range(2 * encode.BATCH + 3)], Kind.text, bpe)
    assert [row["row"][0] for row in rows] == list(range(2 * encode.BATCH + 3))
    assert [bpe.decode(row["ids"][:-1]) for row in rows] == [str(n) for n in range(2 * encode.BATCH + 3)]


def test_no_end_token_is_refused():
    tokenizer = tokenizers.train_bpe(["x"], 261)
    tokenizer.eos_token = None
    with pytest.raises(InitError, match="eos_token"):
        run([Text("x")], Kind.text, tokenizer)


def test_every_kind_has_columns_with_a_type():
    assert set(encode.COLUMNS) == set(Kind)
    assert {name for names in encode.COLUMNS.values() for name in names} == set(encode.DTYPES)
