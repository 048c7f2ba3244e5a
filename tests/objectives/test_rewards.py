import pytest
import torch

from llmtrain.config.choices import MissingEos
from llmtrain.objectives.rewards import MISSING_EOS, final_scores, last_token, shaped_rewards

NAN = float("nan")
MASK = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])


def test_names_are_those_of_the_configuration():
    assert set(MISSING_EOS) == {m.name for m in MissingEos}


def test_the_missing_eos_rule_comes_last():
    """Neither scale nor clip softens it."""
    scores = final_scores(
        torch.tensor([9.0, 9.0]), torch.tensor([True, False]), scale=0.5, clip=2.0, missing_eos_score=-5
    )
    assert scores.tolist() == [2.0, -5.0]


@pytest.mark.parametrize("size", [-3.0, 3.0])
def test_subtract_takes_off_whichever_sign_it_is_written_with(size):
    scores = final_scores(torch.tensor([1.0]), torch.tensor([False]), missing_eos="subtract", missing_eos_score=size)
    assert scores.tolist() == [-2.0]


def test_f3_policy_equal_to_reference_leaves_the_score_on_the_eos():
    logp = torch.tensor([[-1.0, -2.0, NAN], [-3.0, NAN, NAN], [-1.0, -1.0, -1.0]])
    rewards = shaped_rewards(torch.tensor([1.0, 2.0, 3.0]), logp, logp, MASK, 0.1)
    assert rewards.tolist() == [[0, 1, 0], [2, 0, 0], [0, 0, 3]]


@pytest.mark.parametrize("pad", range(1, 8))
def test_f4_pad_columns_change_nothing(pad):
    logp, ref = torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([[-1.5, -1.0, 0.0]])
    mask, score = torch.tensor([[True, True, False]]), torch.tensor([1.0])
    narrow = shaped_rewards(score, logp, ref, mask, 0.1)

    def padded(x, left, right, value):
        return torch.nn.functional.pad(x, (left, right), value=value)

    for left, right in ((pad, 0), (0, pad)):
        wide = shaped_rewards(
            score, padded(logp, left, right, NAN), padded(ref, left, right, NAN), padded(mask, left, right, False), 0.1
        )
        assert torch.equal(wide[:, left : left + 3], narrow) and wide.count_nonzero() == narrow.count_nonzero()


def test_f36_eos_at_once_and_an_empty_row():
    mask = torch.tensor([[True, False], [False, False]])
    assert last_token(mask).tolist() == [[True, False], [False, False]]
    rewards = shaped_rewards(torch.tensor([2.0, 3.0]), torch.zeros(2, 2), torch.zeros(2, 2), mask, 0.1)
    assert rewards.tolist() == [[2, 0], [0, 0]]
