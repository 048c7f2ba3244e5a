"""The user's own function as a judge: the one place where a configuration names code, a local file and nothing else.

No torch here: it is also called before a run has a directory.
"""

import inspect
import math
import traceback
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from numbers import Real
from pathlib import Path
from types import CodeType
from typing import Any

from llmtrain.errors import ConfigError, TrainingError

LARGEST = 1e30  # of a score: float32 holds it, and sums of it
FORMS = "score(prompt, answer) or score(prompt, answer, row)"


def split(path: str) -> tuple[Path, str]:
    """FILE.py:NAME as a file and the name of a function in it."""
    file, _, name = path.rpartition(":")
    return Path(file).expanduser(), name


class _Source(SourceFileLoader):
    """Runs the file as it stands now; Python's own loader may take an older one's bytecode, and leaves its own."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


class Function:
    """`score` of the user's file, held to its promise: a finite number for each (prompt, answer, row)."""

    def __init__(self, path: str):
        """Run the file and find the function. Raises ConfigError with the file and the line."""
        self.file, self.name, self.line = *split(path), 1
        found = self._module().__dict__.get(self.name)
        if not inspect.isfunction(found):
            there = "is no function" if found is not None else "is not there"
            raise ConfigError(
                f"judge.path: {self.file}: {self.name} {there}; define `def {self.name}(prompt, answer):`"
            )
        self.function, self.line = found, found.__code__.co_firstlineno
        signature = inspect.signature(found)
        self.takes_row = "row" in signature.parameters
        try:
            signature.bind("", "", **self._row({}))
        except TypeError as error:
            asked = f"{self.name}{signature} cannot be called as {FORMS} ({error})"
            raise ConfigError(f"judge.path: {self.file}:{self.line}: {asked}") from None

    def __call__(self, prompt: str, answer: str, row: Mapping[str, Any]) -> float:
        """The score. Raises TrainingError with the file, the line and the texts."""
        try:
            value = self.function(prompt, answer, **self._row(row))
            number = float(value) if isinstance(value, Real) else math.nan
        except (Exception, SystemExit) as error:
            raise TrainingError(f"judge.path: {self._place(error)}{_shown(prompt, answer)}") from None
        if abs(number) <= LARGEST:
            return number
        told = f"{value}, no finite number" if isinstance(value, Real) else f"a {type(value).__name__}, no number"
        raise TrainingError(f"judge.path: {self.file}:{self.line}: {self.name} gave {told}{_shown(prompt, answer)}")

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {"row": dict(row)} if self.takes_row else {}

    def _module(self) -> Any:
        loader = _Source("llmtrain_judge", str(self.file))
        spec = spec_from_loader(loader.name, loader)
        assert spec is not None
        module = module_from_spec(spec)
        try:
            loader.exec_module(module)
        except OSError as error:
            if error.filename == str(self.file):
                raise ConfigError(f"judge.path: {self.file}: cannot be read ({error.strerror})") from None
            raise ConfigError(f"judge.path: {self._place(error)}") from None
        except (Exception, SystemExit) as error:
            raise ConfigError(f"judge.path: {self._place(error)}") from None
        return module

    def _place(self, error: BaseException) -> str:
        """Where in the user's file an error came up, and what it says."""
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self.file)
        ]
        line = error.lineno if isinstance(error, SyntaxError) and not lines else lines[-1] if lines else self.line
        return f"{self.file}:{line}: {type(error).__name__}: {error}"


def _shown(prompt: str, answer: str) -> str:
    return f" (prompt {prompt[:60]!r}, answer {answer[:60]!r})"
