"""Every file of conf/: it composes, every field is documented where it is set, and its words are the schema's."""

import dataclasses
import re
from collections.abc import Iterator
from enum import Enum
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import yaml

from llmtrain.config import compose, paths, recipes
from llmtrain.config.schema import COMMANDS
from llmtrain.config.usage import keys

RECIPES = [(command, name) for command in COMMANDS for name in paths.recipes(command)]
# What a recipe leaves to the command line.
NEEDS = {"real": {"data": {"path": ["hub:org/name"]}}, "gpt2-124m": {"data": {"path": ["hub:org/name"]}}}
NEEDS["shakespeare-char"] = {"data": "hub:org/name"}


def fields(cls: type, at: str = "") -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(cls).items():
        if dataclasses.is_dataclass(kind):
            yield from fields(kind, f"{at}{name}.")
        else:
            yield f"{at}{name}", kind


@pytest.mark.parametrize(("command", "recipe"), RECIPES)
def test_every_recipe_composes(command, recipe):
    reads = "data" in paths.defaults(command)  # a pipeline's stages do, and a chat reads nothing
    needs = NEEDS.get(recipe, {}) if reads else {}
    if recipe == "real" and reads:
        needs = {"data": "hub:org/name"}
    config = compose.compose_stage(command, recipe, needs)
    assert config.command == command
    assert config.run.name == recipe


@pytest.mark.parametrize(("command", "recipe"), RECIPES)
def test_every_recipe_says_what_it_is(command, recipe):
    text = paths.summary(paths.recipes(command)[recipe])
    assert 20 < len(text) < 120
    assert text.endswith((".", ".."))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_recipe_tiny(command):
    assert "tiny" in paths.recipes(command)
    assert "  - conf: tiny\n" in (paths.CONF / f"{command}.yaml").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_is_documented_and_nothing_else_is_there(command):
    documented = {key.name: key for key in keys(command)}
    assert {name for name, _ in fields(COMMANDS[command])} - {"command"} == set(documented)
    for key in documented.values():
        assert len(key.comment) > 8, key.name


@pytest.mark.parametrize("group", paths.groups())
def test_the_options_of_a_group_set_the_same_documented_keys(group):
    files = sorted((paths.CONF / group).glob("*.yaml"))
    names = [set(yaml.safe_load(file.read_text())) for file in files]
    assert all(own == names[0] for own in names)
    for file in files:
        lines = file.read_text().splitlines()
        assert lines[0].startswith("# ")
        for above, line in zip(lines, lines[1:], strict=False):
            assert not re.match(r"\w+:", line) or above.startswith("# "), f"{file.name}: {line}"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_words_in_a_comment_are_the_choices_of_the_schema(command):
    kinds = dict(fields(COMMANDS[command]))
    for key in keys(command):
        kind = kinds[key.name]
        if get_origin(kind) is UnionType:
            kind = get_args(kind)[0]
        if isinstance(kind, type) and issubclass(kind, Enum):
            words = key.comment.rpartition("One of: ")[2].rstrip(".").split(", ")
            assert words == [member.value for member in kind], key.name


@pytest.mark.parametrize("group", ["model", "tokenizer", "data", "optimizer", "schedule"])
def test_every_option_of_a_group_composes(group):
    fits = {"data.path": "[hub:org/name]", "data.text_column": "null"}
    for option in paths.groups()[group]:
        given = ["conf=null", f"{group}={option}", "data.max_length=64", "sampling.max_new_tokens=32"]
        if (group, option) == ("data", "files"):
            given += [f"data.path={fits['data.path']}"]
        config = compose.composed("pretrain", recipes.resolve("pretrain", given))
        assert config.command == "pretrain"


def test_no_file_names_code_or_another_variable():
    for file in paths.CONF.rglob("*.yaml"):
        text = file.read_text()
        assert "_target_" not in text
        for variable in re.findall(r"oc\.env:(\w+)", text):
            assert variable in compose.ENVIRONMENT
