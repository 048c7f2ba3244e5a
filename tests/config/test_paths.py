"""What is in conf/, read as text."""

import pytest

from llmtrain.config import paths
from llmtrain.config.schema import COMMANDS


def test_the_first_comment_line_is_the_summary(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("# What it is.\n# More.\nseed: 1\n")
    assert paths.summary(file) == "What it is."
    file.write_text("seed: 1\n# Late.\n")
    assert paths.summary(file) == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_root_chooses_is_there(command):
    for group, option in paths.defaults(command).items():
        found = paths.recipes(command) if group == "conf" else paths.groups()[group]
        assert option in found


def test_recipes_are_no_group():
    assert "recipes" not in paths.groups()
    assert paths.recipes("no-such-command") == {}
