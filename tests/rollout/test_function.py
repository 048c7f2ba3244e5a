"""The user's own function: what is wrong with it is told with file and line, never as a traceback."""

import pytest

from llmtrain.errors import ConfigError, TrainingError
from llmtrain.rollout.function import Function


@pytest.fixture
def made(tmp_path):
    """The function `score` of a file with this text."""

    def make(text: str, name: str = "score") -> Function:
        (tmp_path / "mine.py").write_text(text)
        return Function(f"{tmp_path}/mine.py:{name}")

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
        ("\n\ndef score(prompt): return 1", r"mine.py:3: score\(prompt\) cannot be called as score\(prompt, answer\)"),
        ("def score(prompt, answer, truth): return 1", r"mine.py:1: score\(prompt, answer, truth\) cannot be called"),
    ],
)
def test_a_file_that_cannot_be_used(made, text, message):
    with pytest.raises(ConfigError, match="judge.path: .*" + message):
        made(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="judge.path: .*/no.py: cannot be read .No such file"):
        Function(f"{tmp_path}/no.py:score")


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
    with pytest.raises(TrainingError, match="judge.path: .*" + message):
        function("asked", "", {})


def test_a_function_cannot_change_the_row(made):
    row = {"n": 1}
    made("def score(prompt, answer, row):\n    row['n'] = 2\n    return 0\n")("asked", "", row)
    assert row == {"n": 1}


def test_the_file_runs_as_it_stands_and_nothing_is_left_beside_it(made, tmp_path):
    """Bytecode of an older file of the same size and second would be taken for it."""
    assert made("def score(prompt, answer): return 1")("", "", {}) == 1
    assert made("def score(prompt, answer): return 2")("", "", {}) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["mine.py"]
