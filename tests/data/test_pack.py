import pytest
import torch

from llmtrain.data.pack import after, by_tokens, following, pack, targets


def test_pack_by_hand():
    packed = pack([[5, 6, 7], [8], [9, 4]])
    assert packed.ids.tolist() == [5, 6, 7, 8, 9, 4]
    assert packed.positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert packed.bounds.tolist() == [0, 3, 4, 6]
    assert packed.last.tolist() == [2, 3, 5]
    assert packed.to(torch.device("cpu")).ids.dtype == torch.int64


def test_targets_by_hand():
    """The first token of a sequence is never a target, even where its mask counts (A1)."""
    packed = pack([[5, 6, 7], [8, 9], [4, 3]])
    found = targets(packed, [[True, False, True], [True, True], [False, False]])
    assert found.at.tolist() == [1, 3]
    assert found.ids.tolist() == [7, 9]
    assert found.sequence.tolist() == [0, 1]


def test_following_is_every_token_behind_another():
    sequences = [[5, 6, 7], [8, 9]]
    found = following(pack([ids[:-1] for ids in sequences]), sequences)
    assert found.at.tolist() == [0, 1, 2]
    assert found.ids.tolist() == [6, 7, 9]
    assert found.sequence.tolist() == [0, 0, 1]


def test_after_is_the_response_behind_the_prompt():
    packed = pack([[5, 6, 7], [8, 9, 1, 2]])
    found = after(packed, [2, 1])
    assert found.at.tolist() == [1, 3, 4, 5]
    assert found.ids.tolist() == [7, 9, 1, 2]
    assert found.sequence.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("lengths, budget, runs", [
    ([3, 3, 3], 6, [[0, 1], [2]]), ([9, 1, 1], 4, [[0], [1, 2]]), ([], 4, []), ([4, 4], 4, [[0], [1]]),
])  # fmt: skip
def test_by_tokens(lengths, budget, runs):
    assert list(by_tokens(lengths, budget)) == runs
