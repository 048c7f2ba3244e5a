"""Flags apart from settings, and values in Hydra's grammar."""

import pytest

from llmtrain.config import words
from llmtrain.errors import ConfigError


@pytest.mark.parametrize(
    ("args", "flags", "settings"),
    [
        (["a=1", "-m", "b=2"], ["--multirun"], ["a=1", "b=2"]),
        (["--cfg", "job", "a=1"], ["--cfg", "job"], ["a=1"]),
        (["a=1", "-c", "all", "-p", "optimizer"], ["--cfg", "all", "--package", "optimizer"], ["a=1"]),
        (["--cfg=hydra"], ["--cfg", "hydra"], []),
        (["--info", "a=1"], ["--info", "all"], ["a=1"]),
        (["--info", "defaults-tree"], ["--info", "defaults-tree"], []),
        (["-m", "--", "a=-1", "~b"], ["--multirun"], ["a=-1", "~b"]),
    ],
)
def test_flags_come_first_with_their_values(args, flags, settings):
    assert words.split(args) == (flags, settings)


@pytest.mark.parametrize(
    ("args", "settings"),
    [
        (["runs/a", "b=1", "runs/c"], ["b=1", "models=[runs/a,runs/c]"]),
        (["it's", "-m", "ü"], [r"models=['it\'s','ü']"]),
        (["b=1"], ["b=1"]),
    ],
)
def test_plain_words_of_eval_are_its_models(args, settings):
    assert words.split(args, "eval")[1] == settings


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        ("sft", ["runs/a"], "runs/a: settings are written KEY=VALUE; did you mean data=runs/a?"),
        ("eval", ["mine.yaml"], "mine.yaml: settings are written KEY=VALUE; did you mean conf=mine.yaml?"),
        ("eval", ["a", "models=[b]"], "models: given twice, as models= and as a; drop one of them"),
        ("eval", ["a", ""], "'': an empty word; drop it"),
    ],
)
def test_words_that_are_no_settings(command, args, message):
    with pytest.raises(ConfigError) as caught:
        words.split(args, command)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("args", [["--cfg", "a=1"], ["--cfg", "foo"], ["--info", "foo"], ["-p"], ["--package", "a=1"]])
def test_a_flag_without_a_value_of_its_own_is_refused(args):
    with pytest.raises(ConfigError, match="none of its values"):
        words.split(args)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("a=b", "a=b"),
        ("a=ü", "a='ü'"),
        ("a=[ü,b]", "a=['ü',b]"),
        ("a=ü,b", "a='ü',b"),
        ("a='ü'", "a='ü'"),
        ("a={b:ü}", "a={b:ü}"),
    ],
)
def test_plain_words_beyond_ascii_are_quoted(given, wanted):
    assert words.readable(given) == wanted


@pytest.mark.parametrize("text", ["a", "it's", "a, b", 'say "x"'])
def test_bare_is_the_inverse_of_quoted(text):
    assert words.bare(words.quoted(text)) == text
