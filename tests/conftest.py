"""Fixtures that several rooms share: a chain of tiny trained stages, made once."""

from pathlib import Path

import pytest
import tiny
from browser import chromium as chromium


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tiny.Chain:
    """Tiny pretrain, sft and reward runs for later stages to begin with. Nobody writes into them."""
    return tiny.make_chain(tmp_path_factory.mktemp("chain"))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """An own root for the runs of one test."""
    return tmp_path / "runs"
