"""Predictions against real steps of the stages, in a process of its own (measured.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.estimate.measured import CASES

CLOSE = 0.1
pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux' peak of memory")


@pytest.fixture(scope="module")
def told() -> list[dict]:
    root = Path(__file__).parents[2]
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = str(root)
    command = [sys.executable, "-m", "tests.estimate.measured"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=env, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[c.name for c in CASES])
def test_prediction_is_within_a_tenth(number, told):
    found = told[number]
    for what in ("memory", "flops"):
        predicted, measured = found[what]
        assert predicted == pytest.approx(measured, rel=CLOSE), (what, found)


def test_cases_differ():
    assert len({c.command for c in CASES}) == 6
    assert {c.architecture for c in CASES} == {"gpt2", "llama"}
    assert min(len({c.vocab for c in CASES}), len({c.length for c in CASES})) >= 5
