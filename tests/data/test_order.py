from collections import Counter

import numpy as np
import pytest

from llmtrain.data.order import Rows, Stream, epoch_order


def spans(*lengths):
    return np.array([[n, 0, length] for n, length in enumerate(lengths)])


def test_order_is_a_permutation_that_depends_on_seed_and_epoch():
    orders = [epoch_order(seed, epoch, 50) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert (epoch_order(1, 0, 50) == orders[0]).all()


def test_order_is_fair():
    """Each of 4 items stands first in about a quarter of 2000 epochs (five standard deviations)."""
    first = Counter(int(epoch_order(0, epoch, 4)[0]) for epoch in range(2000))
    assert all(abs(first[n] - 500) < 97 for n in range(4))


def test_order_never_changes():
    """From Philox' counter stream by hand: NumPy keeps raw bit streams for good, so saved runs can be resumed."""
    import hashlib

    key = int.from_bytes(hashlib.sha256(b"3/1/order").digest()[:16], "big")
    raw = np.random.Philox(key=key).random_raw(6).tolist()
    assert epoch_order(3, 1, 6).tolist() == sorted(range(6), key=raw.__getitem__)


@pytest.mark.parametrize("n, size, steps", [(10, 3, 4), (9, 3, 3), (2, 5, 1), (1, 1, 1)])
def test_rows_see_each_row_once_an_epoch(n, size, steps):
    rows = Rows(7, n, size)
    assert rows.steps_per_epoch == steps
    for epoch in range(3):
        seen = [rows.at(epoch * steps + step) for step in range(steps)]
        assert {e for e, _ in seen} == {epoch}
        assert sorted(np.concatenate([indices for _, indices in seen])) == list(range(n))
        assert all(len(indices) == size for _, indices in seen[:-1])


def test_rows_are_a_pure_function_of_the_step():
    one, other = Rows(7, 23, 4), Rows(7, 23, 4)
    forward = [one.at(step)[1].tolist() for step in range(20)]
    backward = [other.at(step)[1].tolist() for step in reversed(range(20))][::-1]
    assert forward == backward


def targets(stream, epoch):
    """Every (document, position) that some row predicts: all tokens of a span but its first."""
    return Counter(
        (document, position)
        for index in range(stream.rows_per_epoch)
        for document, start, stop in stream.row(epoch, index)
        for position in range(start + 1, stop)
    )


@pytest.mark.parametrize("context", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("lengths", [(5, 1, 9, 2, 30), (40,), (12, 13, 14), tuple(range(1, 40))])
def test_every_token_is_predicted_exactly_once(context, lengths):
    stream = Stream(spans(*lengths), context, 3)
    expected = Counter((n, position) for n, length in enumerate(lengths) for position in range(1, length))
    for epoch in range(4):
        assert targets(stream, epoch) == expected
        for index in range(stream.rows_per_epoch):
            assert sum(stop - start for _, start, stop in stream.row(epoch, index)) <= context + 1


def test_spans_keep_their_place_in_the_document():
    stream = Stream(np.array([[4, 10, 25], [9, 3, 8]]), 6, 0)
    expected = Counter([(4, p) for p in range(11, 25)] + [(9, p) for p in range(4, 8)])
    assert targets(stream, 0) == expected


def test_steps_cover_an_epoch_exactly():
    stream = Stream(spans(*range(5, 40)), 16, 1)
    steps = stream.steps_per_epoch(4)
    for epoch in range(2):
        rows = [row for step in range(steps) for row in stream.at(epoch * steps + step, 4)]
        assert len(rows) == stream.rows_per_epoch
        everything = [stream.row(epoch, index) for index in range(stream.rows_per_epoch)]
        assert sorted(map(str, rows)) == sorted(map(str, everything))
        assert rows != everything


def test_one_long_document_is_cut_elsewhere_in_each_epoch():
    stream = Stream(spans(1000), 10, 5)
    cuts = [{start for i in range(stream.rows_per_epoch) for _, start, _ in stream.row(e, i)} for e in range(6)]
    assert len({frozenset(c) for c in cuts}) > 3


def test_many_documents_are_packed_otherwise_in_each_epoch():
    stream = Stream(spans(*[7] * 30), 20, 5)
    assert [stream.row(0, n) for n in range(5)] != [stream.row(1, n) for n in range(5)]


def test_stream_is_a_pure_function_of_the_step():
    make = lambda: Stream(spans(100, 120, 90), 8, 2)  # noqa: E731
    one, other = make(), make()
    assert [one.at(s, 3) for s in range(40)] == [other.at(s, 3) for s in reversed(range(40))][::-1]
