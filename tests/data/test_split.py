import numpy as np
import pytest

from llmtrain.data import cache
from llmtrain.data.records import Chat, Kind, Message, Prompt, Ranking, Text
from llmtrain.data.sources import gather
from llmtrain.data.split import train_eval
from llmtrain.errors import DataError


def table(records, kind, bpe, folder):
    return cache.tokenised(gather(records, "r"), kind, bpe, 100, folder)


def user(n):
    return (Message("user", f"why {n}?"),)


RECORDS = {
    Kind.chat: lambda n, k: Chat((*user(n), Message("assistant", f"because {k}"))),
    Kind.ranking: lambda n, k: Ranking(user(n), (f"good {k}", "bad"), (1.0, 2.0)),
    Kind.prompt: lambda n, k: Prompt(user(n), {"k": k}),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_prompt_is_on_one_side_only(bpe, tmp_path, kind):
    made = [RECORDS[kind](n % 30, n) for n in range(120)]  # each prompt four times
    split = train_eval(table(made, kind, bpe, tmp_path), kind, 0.2, 0)
    assert sorted([*split.train, *split.eval]) == list(range(120))
    held = {n % 30 for n in split.eval}
    assert len(held) == 6
    assert not held & {n % 30 for n in split.train}


def test_seed_draws_another_part(bpe, tmp_path):
    data = table([RECORDS[Kind.prompt](n, n) for n in range(60)], Kind.prompt, bpe, tmp_path)
    parts = [tuple(train_eval(data, Kind.prompt, 0.2, seed).eval) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


def test_fraction_nothing_and_at_least_one(bpe, tmp_path):
    data = table([RECORDS[Kind.prompt](n, n) for n in range(5)], Kind.prompt, bpe, tmp_path)
    assert [len(train_eval(data, Kind.prompt, f, 0).eval) for f in (0, 0.01, 0.4, 0.9)] == [0, 1, 2, 4]


def test_one_prompt_cannot_be_split(bpe, tmp_path):
    data = table([RECORDS[Kind.chat](0, n) for n in range(5)], Kind.chat, bpe, tmp_path)
    with pytest.raises(DataError, match="give more"):
        train_eval(data, Kind.chat, 0.1, 0)
    assert len(train_eval(data, Kind.chat, 0, 0).train) == 5


def test_many_documents_go_whole_and_doubles_stay_together(bpe, tmp_path):
    data = table([Text(f"hello {n % 25}") for n in range(50)], Kind.text, bpe, tmp_path)
    split = train_eval(data, Kind.text, 0.2, 0)
    assert len(split.eval) == 10
    assert {n % 25 for n in split.eval[:, 0]}.isdisjoint(n % 25 for n in split.train[:, 0])
    assert (split.train[:, 1] == 0).all()
    assert (split.train[:, 2] == data.lengths("ids")[split.train[:, 0]]).all()


def test_few_documents_give_their_ends(bpe, tmp_path):
    data = table([Text("why is it so? " * 40), Text("hello " * 70)], Kind.text, bpe, tmp_path)
    lengths = data.lengths("ids")
    split = train_eval(data, Kind.text, 0.1, 0)
    tails = np.round(lengths * 0.1).astype(int)
    assert split.train.tolist() == [[n, 0, lengths[n] - tails[n]] for n in range(2)]
    assert split.eval.tolist() == [[n, lengths[n] - tails[n], lengths[n]] for n in range(2)]
    assert "the last 0.1" in split.description


def test_documents_too_short_to_give_an_end(bpe, tmp_path):
    data = table([Text("x")], Kind.text, bpe, tmp_path)
    with pytest.raises(DataError, match="give more"):
        train_eval(data, Kind.text, 0.1, 0)
    assert train_eval(data, Kind.text, 0, 0).train.tolist() == [[0, 0, 2]]
