"""max_time's syntax, and the target with a bound, patience and a first step (correctness C13)."""

import pytest

from llmtrain.errors import ConfigError
from llmtrain.loop.learner import Rate
from llmtrain.loop.stopping import TargetReached, lower_bound, numbers, seconds


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("15m", 900), ("1.5h", 5400), (None, None)])
def test_durations(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "-1", "1d", "soon", "1h30", "1e3"])
def test_no_duration_is_a_config_error_that_names_it(text):
    with pytest.raises(ConfigError, match="max_time"):
        seconds(text)


def test_rate_counts_with_its_wilson_lower_bound():
    """Newcombe 1998, table I: 81 of 263 has the two-sided 95 % score interval 0.2553 to 0.3662."""
    assert lower_bound(Rate(81, 263), 0.95) == pytest.approx(0.2553, abs=5e-5)
    assert lower_bound(0.3, 0.95) == 0.3


def test_things_that_come_in_groups_count_once_each():
    """80 answers on 20 questions: the interval of 15 of 20."""
    assert Rate(60, 80, 20).value == 0.75
    assert Rate(60, 80, 20).interval(0.95) == pytest.approx(Rate(15, 20).interval(0.95))


def test_patience_counts_evaluations_in_a_row():
    stop = TargetReached("m", 0.5, 0.95, patience=2, min_steps=0)
    heard = [stop.observe(step, {"m": value}) for step, value in enumerate([0.6, 0.4, 0.6, 0.6])]
    assert heard[:3] == [None, None, None]
    assert heard[3] is not None and "target reached: m" in heard[3]


def test_target_waits_for_min_steps():
    stop = TargetReached("m", 0.5, 0.95, patience=1, min_steps=10)
    assert stop.observe(9, {"m": 1.0}) is None
    assert stop.observe(10, {"m": 1.0}) is not None


def test_small_share_is_not_enough_where_a_large_one_is():
    assert TargetReached("m", 0.9, 0.95, 1, 0).observe(1, {"m": Rate(10, 10)}) is None
    assert TargetReached("m", 0.9, 0.95, 1, 0).observe(1, {"m": Rate(1000, 1000)}) is not None


def test_unknown_metric_names_those_there_are():
    with pytest.raises(ConfigError, match="eval/loss"):
        TargetReached("gold/min", 0.9, 0.95, 1, 0).observe(1, {"eval/loss": 1.0})


def test_numbers_shows_rates_as_shares():
    assert numbers({"a": Rate(3, 4), "b": 2.0, "c": Rate(0, 0)}) == {"a": 0.75, "b": 2.0, "c": 0.0}
