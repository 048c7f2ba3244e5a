"""Resumed equals uninterrupted, bit for bit: weights, moments, trainer state, metrics, samples (R1, R2, R3)."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from harness import Children, Fault, Trace, leftovers, steps, traced

from llmtrain.run import lineage

CHANGES: dict[str, dict[str, Any]] = {
    "pretrain": {"model": {"dropout": 0.1}},
    "sft": {},
    "reward": {},
    "dpo": {},
    "ppo": {},
    "ppo-rloo": {"choose": {"advantage": "rloo"}},
    "ppo-shared": {"advantage": {"critic": "shared"}},
    "ppo-adapters": {"choose": {"adapter": "lora"}, "advantage": {"critic": "shared"}},
    "dpo-adapters": {"choose": {"adapter": "lora"}},
}
# Steps 1..6 (ppo 1..4, 4 updates each), saved and evaluated at the even ones.
EVERYWHERE = [
    Fault("update", 1),
    Fault("log", 4),
    Fault("evaluation", 2),
    Fault("before save", 2),
    Fault("model written", 2),
    Fault("before rename", 1),
    Fault("after rename", 2),
    Fault("before delete", 3),
    Fault("after save", 1),
    Fault("before result", 1),
]
CASES = [(stage, fault) for stage in ("pretrain", "sft", "reward", "dpo") for fault in EVERYWHERE]
CASES += [("ppo", fault) for fault in EVERYWHERE if fault.point not in ("update", "before delete")]
CASES += [("ppo", fault) for fault in (Fault("update", 11), Fault("after update", 14), Fault("before delete", 2))]
CASES += [("ppo", Fault("rollout", nth)) for nth in (2, 15, 27)]
CASES += [("ppo-shared", fault) for fault in (Fault("rollout", 15), Fault("update", 11), Fault("after save", 1))]
CASES += [("ppo-rloo", fault) for fault in (Fault("rollout", 15), Fault("update", 11), Fault("after save", 1))]
CASES += [("ppo-adapters", fault) for fault in (Fault("rollout", 15), Fault("update", 11))]
CASES += [("dpo-adapters", Fault("update", 4))]


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    yield Children()


@pytest.fixture(scope="module")
def uninterrupted(
    children: Children, chain: tiny.Chain, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Trace, list[int]]]:
    """The trace and the checkpoints of a stage that nobody disturbed; each stage runs once."""
    known: dict[str, tuple[Trace, list[int]]] = {}

    def get(stage: str) -> tuple[Trace, list[int]]:
        if stage not in known:
            path = made(stage, chain, tmp_path_factory.mktemp(stage) / "runs")
            assert children.run(path) == 0
            known[stage] = (traced(path), steps(path))
        return known[stage]

    return get


def made(stage: str, chain: tiny.Chain, root: Path) -> Path:
    command = stage.partition("-")[0]
    return tiny.created(command, root, **tiny.merged(chain.links(command), CHANGES[stage]))


@pytest.mark.parametrize(("stage", "fault"), CASES, ids=str)
def test_killed_run_goes_on_to_the_same_bits(stage, fault, children, chain, uninterrupted, runs):
    whole, kept = uninterrupted(stage)
    path = made(stage, chain, runs)
    assert children.run(path, fault) == -signal.SIGKILL
    assert children.run(path) == 0
    assert traced(path) == whole
    assert steps(path) == kept
    assert leftovers(path) == []


@pytest.mark.parametrize("stage", ["pretrain", "sft", "ppo"])
def test_two_kills_within_one_epoch_change_nothing(stage, children, chain, uninterrupted, runs):
    whole, _ = uninterrupted(stage)
    path = made(stage, chain, runs)
    assert children.run(path, Fault("log", 2 if stage == "ppo" else 5)) == -signal.SIGKILL
    assert children.run(path, Fault("after save", 1)) == -signal.SIGKILL
    assert children.run(path, Fault("before save", 1)) == -signal.SIGKILL
    assert children.run(path) == 0
    assert traced(path) == whole


@pytest.mark.parametrize("stage", [stage for stage in CHANGES if "-" not in stage])
@pytest.mark.parametrize(
    ("point", "number"),
    [("log", signal.SIGTERM), ("evaluation", signal.SIGINT), ("model written", signal.SIGTERM)],
    ids=["step", "evaluation", "save"],
)
def test_signalled_run_saves_that_step_and_goes_on_to_the_same_bits(
    stage, point, number, children, chain, uninterrupted, runs
):
    whole, _ = uninterrupted(stage)
    path = made(stage, chain, runs)
    nth = {"log": 5 if stage == "ppo" else 4, "evaluation": 2, "model written": 1}[point]  # ppo logs step 0 too
    assert children.run(path, Fault(point, nth, number)) == 128 + number
    newest = max(steps(path))
    assert newest == {"log": 3, "evaluation": 2 if stage == "ppo" else 4, "model written": 2}[point]
    assert children.run(path) == 0
    assert traced(path) == whole


def test_signal_in_a_rollout_loses_that_round_alone(children, chain, uninterrupted, runs):
    whole, _ = uninterrupted("ppo")
    path = made("ppo", chain, runs)
    assert children.run(path, Fault("rollout", 27, signal.SIGTERM)) == 128 + signal.SIGTERM
    assert children.run(path) == 0
    assert traced(path) == whole


def test_signal_before_the_first_step_keeps_the_first_evaluation(children, chain, uninterrupted, runs):
    whole, _ = uninterrupted("ppo")
    path = made("ppo", chain, runs)
    assert children.run(path, Fault("log", 1, signal.SIGTERM)) == 128 + signal.SIGTERM
    assert children.run(path) == 0
    assert traced(path).metrics == whole.metrics


def test_the_comparison_sees_one_bit(children, chain, uninterrupted, runs):
    """Another seed is another run: the traces above are not equal by being empty."""
    whole, _ = uninterrupted("sft")
    path = tiny.created("sft", runs, **tiny.merged(chain.links("sft"), {"seed": 1}))
    assert children.run(path) == 0
    other = traced(path)
    assert other.weights.keys() == whole.weights.keys()
    assert other.weights != whole.weights and other.moments != whole.moments and other.metrics != whole.metrics


def test_the_settings_of_the_machine_change_no_bit(children, chain, uninterrupted, runs):
    """A run that was killed without the allocator's settings goes on with them (launch.* may change in between)."""
    whole, _ = uninterrupted("pretrain")
    changes = tiny.merged(chain.links("pretrain"), CHANGES["pretrain"], {"launch": {"tune": False}})
    path = tiny.created("pretrain", runs, **changes)
    assert children.run(path, Fault("log", 3)) == -signal.SIGKILL
    config = (path / "config.yaml").read_text()
    assert lineage.read(path)["settings"]["tune"] is False and "tune: false" in config
    (path / "config.yaml").write_text(config.replace("tune: false", "tune: true"))
    assert children.run(path) == 0
    assert lineage.read(path)["settings"]["tune"] is True
    assert traced(path) == whole
