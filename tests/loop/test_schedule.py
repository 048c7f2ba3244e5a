import pytest

from llmtrain.config.choices import ScheduleName
from llmtrain.errors import ConfigError
from llmtrain.loop.schedule import SCHEDULES, schedule

SETTINGS = {"total": 100, "warmup": 0.1, "final": 0.1, "decay": 0.2}


def test_names_are_those_of_the_configuration():
    assert set(SCHEDULES) == {s.name for s in ScheduleName}


@pytest.mark.parametrize("name", SCHEDULES)
def test_f34_warm_up_starts_above_zero_and_ends_at_full_height(name):
    at = schedule(name, **SETTINGS)
    assert [at(s) for s in range(10)] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert at(10) == 1.0


@pytest.mark.parametrize("name", SCHEDULES)
def test_after_the_warm_up_it_never_rises_and_ends_at_final(name):
    at = schedule(name, **SETTINGS)
    rates = [at(s) for s in range(10, 130)]
    assert all(a >= b for a, b in zip(rates, rates[1:], strict=False))
    assert set(rates[90:]) == {1.0 if name == "constant" else 0.1}


def test_wsd_is_flat_until_its_decay():
    at = schedule("wsd", **SETTINGS)
    assert {at(s) for s in range(9, 81)} == {1.0} and at(81) < 1.0
    assert at(85) == pytest.approx(0.1 + 0.9 * 0.5)  # a quarter of the decay: 1 - sqrt(1/4)


def test_cosine_is_half_way_in_the_middle():
    assert schedule("cosine", **SETTINGS)(55) == pytest.approx(0.55)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_no_warm_up_or_nothing_else(name, warmup):
    at = schedule(name, total=4, warmup=warmup, final=0.0, decay=0.0)
    assert at(3 if warmup else 0) == 1.0
    assert at(0) == (0.25 if warmup else 1.0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_run_of_one_step(name):
    assert schedule(name, total=1, warmup=0.0, final=0.0, decay=0.0)(0) == 1.0


def test_warm_up_and_decay_may_not_overlap():
    with pytest.raises(ConfigError, match="overlap"):
        schedule("wsd", total=100, warmup=0.6, final=0.0, decay=0.5)
