import numpy as np
import pytest
import torch

from llmtrain.data.pack import after, behind, by_tokens, following, in_common, pack, targets


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


def test_behind_lays_a_prompt_once_for_neighbours_by_hand():
    """Two answers to [5, 6], one to [8], and one to [5, 6] again, which no neighbour has."""
    prompts = [[5, 6], np.array([5, 6]), [8], [5, 6]]
    packed = behind(prompts, [[7], np.array([4, 3]), [2], [9, 9]])
    assert packed.ids.tolist() == [5, 6, 7, 4, 3, 8, 2, 5, 6, 9, 9]
    assert packed.positions.tolist() == [0, 1, 2, 2, 3, 0, 1, 0, 1, 2, 3]
    assert packed.bounds.tolist() == [0, 3, 5, 7, 11]
    begins = [packed.ids[start:stop].tolist() for start, stop in packed.shared]
    assert begins == [[], [5, 6], [], []]
    assert packed.last.tolist() == [2, 4, 6, 10]
    found = after(packed, [len(prompt) for prompt in prompts])
    assert found.at.tolist() == [1, 1, 3, 5, 8, 9]  # the end of [5, 6] predicts the first token of both
    assert found.ids.tolist() == [7, 4, 3, 2, 9, 9]
    assert found.sequence.tolist() == [0, 1, 1, 2, 3, 3]
    assert torch.equal(packed.to(torch.device("cpu")).shared, packed.shared)


def test_a_third_answer_shares_the_prompt_of_the_first():
    packed = behind([[5, 6]] * 3, [[7], [4, 3], [2]])
    assert packed.shared[1:].tolist() == [[0, 2], [0, 2]]
    assert packed.positions.tolist() == [0, 1, 2, 2, 3, 2]
    with pytest.raises(AssertionError, match="without tokens"):
        behind([[5, 6]] * 2, [[7], []])


def test_in_common_with_the_prompt_before():
    assert in_common([[1, 2], [1, 2], [1, 2, 3], [3], [], []]).tolist() == [0, 2, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "budget, runs", [(8, [[0, 1, 2]]), (7, [[0, 1], [2]]), (6, [[0], [1, 2]]), (1, [[0], [1], [2]])]
)
def test_by_tokens_counts_what_is_shared_once(budget, runs):
    """Prompts of 3 tokens behind which stand 2, 2 and 1: 5 + 2 + 1, or 5 + 1 where the second begins a run."""
    assert list(by_tokens([5, 5, 4], budget, [0, 3, 3])) == runs


@pytest.mark.parametrize("lengths, budget, runs", [
    ([3, 3, 3], 6, [[0, 1], [2]]), ([9, 1, 1], 4, [[0], [1, 2]]), ([], 4, []), ([4, 4], 4, [[0], [1]]),
])  # fmt: skip
def test_by_tokens(lengths, budget, runs):
    assert list(by_tokens(lengths, budget)) == runs
