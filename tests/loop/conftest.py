"""A learner small enough to compute by hand, in a real run directory."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from fakes import ONE

from llmtrain.run.session import Session


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """Opens the test's run directory, as often as asked: each time is a new life of the run."""
    torch.manual_seed(0)
    with ExitStack() as lives:

        def session(**options) -> Session:
            lives.close()
            return lives.enter_context(Session(tmp_path, "fake", ONE, **options))

        yield session
