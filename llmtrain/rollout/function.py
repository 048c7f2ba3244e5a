"""The user's own function as a judge: all code that a configuration names is run here, a local file and nothing else.

No torch here: it is also called before a run has a directory.
"""

import inspect
import math
import sys
import traceback
from collections.abc import Callable, Mapping
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

    def __init__(self, path: str, key: str):
        """Run the file and find the function; key: of the configuration, errors name it. Raises ConfigError."""
        self.file, self.name = split(path)
        self.key, self.line = key, 1
        self.function = self._found(self._module())
        self.line = self._begins(self.function)
        asked = self.name
        try:
            signature = inspect.signature(self.function)
            asked = f"{self.name}{signature}"
            self.takes_row = "row" in signature.parameters
            signature.bind("", "", **self._row({}))
        except (TypeError, ValueError) as error:  # ValueError: some of Python's own functions do not say theirs
            raise ConfigError(
                f"{key}: {self.file}:{self.line}: {asked} cannot be called as {FORMS} ({error})"
            ) from None

    def __call__(self, prompt: str, answer: str, row: Mapping[str, Any]) -> float:
        """The score. Raises TrainingError with the file, the line and the texts."""
        try:
            value = self.function(prompt, answer, **self._row(row))
            number = float(value) if isinstance(value, Real) else math.nan
        except (Exception, SystemExit) as error:
            raise TrainingError(f"{self.key}: {self._place(error)}{_shown(prompt, answer)}") from None
        if abs(number) <= LARGEST:
            return number
        told = f"{value}, no finite number" if isinstance(value, Real) else f"a {type(value).__name__}, no number"
        raise TrainingError(f"{self.key}: {self.file}:{self.line}: {self.name} gave {told}{_shown(prompt, answer)}")

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {"row": dict(row)} if self.takes_row else {}

    def _module(self) -> dict[str, Any]:
        """What the file defines."""
        loader = _Source("llmtrain_judge", str(self.file))
        spec = spec_from_loader(loader.name, loader)
        assert spec is not None
        module = module_from_spec(spec)
        sys.modules[loader.name] = module  # where dataclasses look up what their annotations mean
        try:
            loader.exec_module(module)
        except (Exception, SystemExit) as error:
            sys.modules.pop(loader.name, None)
            if isinstance(error, OSError) and error.filename == str(self.file):
                raise ConfigError(f"{self.key}: {self.file}: cannot be read ({error.strerror})") from None
            raise ConfigError(f"{self.key}: {self._place(error)}") from None
        return module.__dict__

    def _found(self, defined: dict[str, Any]) -> Callable[..., Any]:
        """Whatever can be called, but a class: a call of one makes an object, and an object is no score."""
        found = defined.get(self.name)
        if callable(found) and not inspect.isclass(found):
            return found
        there = "is not there" if found is None else "is a class" if inspect.isclass(found) else "is no function"
        raise ConfigError(f"{self.key}: {self.file}: {self.name} {there}; define `def {self.name}(prompt, answer):`")

    def _begins(self, function: Callable[..., Any]) -> int:
        """The line of its code, under a decorator or in its class; 1 where that is not in the user's file."""
        inner: Any = inspect.unwrap(function)
        inner = inner if inspect.isroutine(inner) else type(inner).__call__
        if not (inspect.isfunction(inner) or inspect.ismethod(inner)):
            return 1
        code = inner.__code__
        return code.co_firstlineno if code.co_filename == str(self.file) else 1

    def _place(self, error: BaseException) -> str:
        """Where in the user's file an error came up, and what it says."""
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self.file)
        ]
        line = error.lineno if isinstance(error, SyntaxError) and not lines else lines[-1] if lines else self.line
        return f"{self.file}:{line}: {type(error).__name__}: {error}"


def _shown(prompt: str, answer: str) -> str:
    return f" (prompt {prompt[:60]!r}, answer {answer[:60]!r})"
