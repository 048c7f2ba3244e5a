"""Proxy against gold over the KL: what is read from a run, and the picture."""

import pytest

from llmtrain.evaluate import overoptimisation

ROWS = [
    {"step": 0, "eval/score": -1.0, "gold/helpful": 0.9, "gold/honest": 0.2, "gold/harmless": 0.1},
    {"step": 1, "ppo/kl": 0.5, "ppo/score": -0.8},
    {"step": 2, "ppo/kl": 2.25, "ppo/score": 0.4},
    {"step": 2, "eval/score": 0.5, "gold/helpful": 0.6, "gold/honest": 0.9, "gold/harmless": 0.9},
    {"step": 3, "ppo/kl": -0.01},
    {"step": 3, "eval/score": 0.6},
]


def test_points_are_the_graded_evaluations_with_the_kl_of_their_policy():
    """The rollout of step 1 is by the policy evaluated at 0; the last one has no rollout behind it but its own."""
    first, second = overoptimisation.points(ROWS)
    assert (first.step, first.kl, first.proxy) == (0, 0.5, -1.0)
    assert (second.step, second.kl, second.proxy) == (2, 0.0, 0.5)  # step 3 measured less than nothing
    assert second.gold == {"helpful": 0.6, "honest": 0.9, "harmless": 0.9}


@pytest.mark.parametrize("measured, told", [(1.5, 1.5), (-0.01, 0.0)])
def test_the_last_evaluation_takes_the_kl_of_its_own_step(measured, told):
    rows = [{"step": 3, "ppo/kl": measured}, ROWS[0] | {"step": 3}]
    assert overoptimisation.points(rows)[0].kl == told


def test_an_evaluation_whose_kl_was_not_logged_is_left_out():
    """log.every=10: a point far away must not be drawn where the KL is 0."""
    rows = [{"step": 10, "ppo/kl": 4.0}, ROWS[0] | {"step": 10}, ROWS[0] | {"step": 15}]
    assert [(p.step, p.kl) for p in overoptimisation.points(rows)] == [(10, 4.0)]


def test_all_three_grades_are_needed():
    assert overoptimisation.points([{"step": 0, "eval/score": 1.0, "gold/helpful": 0.5}]) == []


@pytest.mark.parametrize("names", [["ppo"], ["kl 0", "kl 1"]])
def test_picture_is_drawn(names, tmp_path):
    path = tmp_path / "overoptimisation.png"
    overoptimisation.picture(dict.fromkeys(names, overoptimisation.points(ROWS)), path)
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000
