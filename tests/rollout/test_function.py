"""The user's own function: what is wrong with it is told with file and line, never as a traceback."""

import sys

import pytest

from llmtrain.errors import ConfigError, TrainingError
from llmtrain.rollout.function import Function

KEY = "some.key"
DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Scale:
    by: float

    def __call__(self, prompt, answer):
        return self.by * len(answer)

    def broken(self, prompt, answer):
        return "x"

"""
CACHED = "import functools\n@functools.cache\ndef score(prompt, answer):\n    return "


@pytest.fixture
def made(tmp_path):
    """The function `score` of a file with this text."""

    def make(text: str, name: str = "score") -> Function:
        (tmp_path / "mine.py").write_text(text)
        return Function(f"{tmp_path}/mine.py:{name}", KEY)

    return make


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("def score(prompt, answer): return len(answer) / 2", 1.5),
        ("def score(prompt, answer): return answer == 'abc'", 1.0),
        ("def score(prompt: str, answer: str, row: dict) -> float: return row['n']", 7.0),
        ("def score(prompt, answer, *, row): return row['n']", 7.0),
        ("def score(prompt, answer, strict=True): return 2", 2.0),
        ("import numpy\ndef score(prompt, answer): return numpy.float32(0.5)", 0.5),
        (DATACLASS + "score = Scale(2)", 6.0),
        (DATACLASS + "score = Scale(2).__call__", 6.0),
        (DATACLASS + "def score(prompt, answer): return Scale(2)(prompt, answer)", 6.0),
        (CACHED + "len(answer)", 3.0),
        ("import functools\ndef f(by, prompt, answer): return by\nscore = functools.partial(f, 4)", 4.0),
        ("from operator import eq as score", 0.0),
    ],
)
def test_its_forms(made, text, score):
    assert made(text)("asked", "abc", {"n": 7}) == score


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny =\n", r"mine.py:2: SyntaxError"),
        ("x = 1\nimport nothing_of_this_name\n", r"mine.py:2: ModuleNotFoundError: No module named"),
        ("\nopen('/nowhere/x')\n", r"mine.py:2: FileNotFoundError"),
        ("raise SystemExit(3)", r"mine.py:1: SystemExit"),
        ("def other(prompt, answer): return 1", r"mine.py: score is not there; define `def score\(prompt, answer\):`"),
        ("score = 3", r"mine.py: score is no function"),
        ("class score: pass", r"mine.py: score is a class; define"),
        ("score = max", r"mine.py:1: score cannot be called as .*\(no signature found"),
        ("\n\ndef score(prompt): return 1", r"mine.py:3: score\(prompt\) cannot be called as score\(prompt, answer\)"),
        ("def score(prompt, answer, truth): return 1", r"mine.py:1: score\(prompt, answer, truth\) cannot be called"),
    ],
)
def test_a_file_that_cannot_be_used(made, text, message):
    with pytest.raises(ConfigError, match=KEY + ": .*" + message):
        made(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=KEY + ": .*/no.py: cannot be read .No such file"):
        Function(f"{tmp_path}/no.py:score", KEY)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / len(answer)", r"mine.py:2: ZeroDivisionError: division by zero \(prompt 'asked', answer ''\)"),
        ("import json; return json.loads(answer)", r"mine.py:2: JSONDecodeError"),
        ("exit(2)", r"mine.py:2: SystemExit"),
        ("return None", r"mine.py:1: score gave a NoneType, no number \(prompt 'asked', answer ''\)"),
        ("return '1'", r"mine.py:1: score gave a str, no number"),
        ("return float('nan')", r"mine.py:1: score gave nan, no finite number"),
        ("return 1e300", r"mine.py:1: score gave 1e\+300, no finite number"),
        ("return 10 ** 400", r"mine.py:1: OverflowError"),
    ],
)
def test_a_call_that_fails(made, body, message):
    function = made(f"def score(prompt, answer):\n    {body}\n")
    with pytest.raises(TrainingError, match=KEY + ": .*" + message):
        function("asked", "", {})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (DATACLASS + "score = Scale('x').broken", 12),
        (DATACLASS + "score = Scale('x')", 9),
        (CACHED + "'x'", 2),
        ("from posixpath import join as score", 1),  # elsewhere
    ],
)
def test_the_line_is_that_of_the_code_behind_the_name(made, text, line):
    with pytest.raises(TrainingError, match=rf"mine.py:{line}: score gave a str"):
        made(text)("asked", "a", {})


def test_a_cache_does_not_take_a_row(made):
    function = made("import functools\n@functools.cache\ndef score(prompt, answer, row): return 1")
    with pytest.raises(TrainingError, match=r"mine.py:2: TypeError: unhashable type: 'dict'"):
        function("asked", "a", {})


def test_a_file_that_fails_is_no_module(made):
    made("def score(prompt, answer): return 1")
    assert sys.modules["llmtrain_judge"].__file__.endswith("mine.py")
    with pytest.raises(ConfigError):
        made("1 / 0")
    assert "llmtrain_judge" not in sys.modules


def test_a_function_cannot_change_the_row(made):
    row = {"n": 1}
    made("def score(prompt, answer, row):\n    row['n'] = 2\n    return 0\n")("asked", "", row)
    assert row == {"n": 1}


def test_the_file_runs_as_it_stands_and_nothing_is_left_beside_it(made, tmp_path):
    """Bytecode of an older file of the same size and second would be taken for it."""
    assert made("def score(prompt, answer): return 1")("", "", {}) == 1
    assert made("def score(prompt, answer): return 2")("", "", {}) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["mine.py"]
