"""The test of the tests: every invariant F1 to F37 fails when the bug that it is there to catch is put in.

`make invariants` prints the table. A bug that is not caught, or that breaks the program in another way than by a failed
assertion or an error of the program's own, fails here.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from llmtrain.errors import LlmtrainError
from tests.invariants import test_forwards, test_gates, test_preferences, test_rounds, test_runs, test_tensors
from tests.invariants.mutants import MUTATIONS, Mutation

MODULES = (test_tensors, test_forwards, test_rounds, test_gates, test_preferences, test_runs)
INVARIANTS: dict[int, Callable[..., None]] = {
    int(found[1]): function
    for module in MODULES
    for name, function in vars(module).items()
    if (found := re.match(r"test_F(\d+)_", name))
}


def test_all_37_are_there_and_each_has_its_bug():
    assert sorted(INVARIANTS) == list(range(1, 38))
    assert sorted({mutation.number for mutation in MUTATIONS}) == list(range(1, 38))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"F{m.number} {m.broken}")
def test_bug_is_caught(mutation: Mutation, request: pytest.FixtureRequest, record_property: Callable[..., None]):
    invariant = INVARIANTS[mutation.number]
    wanted = [name for name in inspect.signature(invariant).parameters if name not in mutation.given]
    fixtures: dict[str, Any] = {name: request.getfixturevalue(name) for name in wanted if name != "make"}
    if "make" in wanted:
        fixtures["make"] = test_runs.tokenizer
    monkeypatch = request.getfixturevalue("monkeypatch")
    mutation.patch(monkeypatch)
    with pytest.raises((AssertionError, LlmtrainError)) as caught:
        invariant(**mutation.given, **fixtures)
    told = " ".join(str(caught.value).split())[:60] or "assertion failed"
    record_property("mutation", (mutation.number, invariant.__name__, mutation.broken, told))
