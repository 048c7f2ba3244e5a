"""--help from the YAML files alone."""

import pytest

from llmtrain.config import paths
from llmtrain.config.names import known
from llmtrain.config.schema import COMMANDS
from llmtrain.config.usage import EXAMPLES, Key, _keys, usage


def test_keys_come_with_their_comment_and_default(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(
        "# The file itself.\ndefaults:\n  - base\n\n# Seed of\n# every draw.\nseed: 3\n\n"
        "run:\n  # Its name.\n  name: a:b\n"
        "# Last.\nend: null\nhydra:\n  job: 1\n"
    )
    assert list(_keys(file, "p.")) == [
        Key("p.seed", "3", "Seed of every draw."),
        Key("p.run.name", "a:b", "Its name."),
        Key("p.end", "null", "Last."),
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_recipes_groups_keys_examples_and_flags(command):
    text = usage(f"llmtrain {command}", command, "What it does.")
    for name, file in paths.recipes(command).items():
        assert name in text
        assert paths.summary(file) in text
    for group in paths.defaults(command):
        if group in paths.groups():
            for option in paths.groups()[group]:
                assert option in text
    for line in EXAMPLES[command]:
        assert f"llmtrain {command} {line}" in text
    for word in ("Usage:", "seed=0", "--cfg job", "conf=RECIPE|FILE.yaml"):
        assert word in text
    assert ("--multirun" in text) == (command != "chat")  # which refuses it


def test_the_chosen_option_is_marked():
    assert "cosine*" in usage("llmtrain sft", "sft", "")
    assert "linear*" in usage("llmtrain ppo", "ppo", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_name_keys_that_exist(command):
    for word in " ".join(EXAMPLES[command]).split():
        key, equals, _ = word.partition("=")
        assert not equals or key == "conf" or key in known(command) or _of_a_stage(command, key), word


def _of_a_stage(command: str, key: str) -> bool:
    stage, _, rest = key.partition(".")
    return command == "pipeline" and rest in known(stage)
