"""<TAB>: recipes, files, group options, keys and enum members, from the YAML files and the schema's names."""

import re
from pathlib import Path

from llmtrain.config.paths import defaults, groups, parts, recipes
from llmtrain.config.usage import keys
from llmtrain.config.words import LONG, POSITIONAL, SHORTHANDS, VALUES

FLAGS = [*VALUES, *LONG, "--multirun", "--resolve", "--help", "--version", "--hydra-help"]


def complete(command: str, args: list[str], incomplete: str) -> list[str]:
    """What the shell should offer for the word that is being typed.

    bash breaks words at `=`: `conf=ti` arrives as `conf`, `=`, `ti`, and wants the right side alone. zsh does not.
    """
    flag = VALUES.get(LONG.get(args[-1], args[-1])) if args else None
    if flag or incomplete.startswith("-"):
        own = [name.partition(" ")[0] for name in SHORTHANDS.get(command, ())]
        return [word for word in flag or [*FLAGS, *own] if word.startswith(incomplete)]
    if args and args[-1] == "=":
        whole, cut = f"{args[-2]}={incomplete}", len(args[-2]) + 1
    elif not incomplete and args and not re.search(r"^-|[=/]", args[-1]) and args[-2:-1] != ["="]:
        whole, cut = args[-1] + "=", len(args[-1]) + 1
    else:
        whole, cut = incomplete, 0
    found = candidates(command, whole)
    if len(found) == 1 and found[0] != whole and found[0].endswith("="):  # bash would put a space after `key=`
        found = candidates(command, found[0]) or found
    return [word[cut:] for word in found]


def candidates(command: str, word: str) -> list[str]:
    """Whole words that begin with `word`; also those of the command's parts, under their names."""
    stage, dot, rest = word.partition(".")
    if dot and stage in parts(command):
        return [f"{stage}.{found}" for found in candidates(stage, rest)]
    sign = word[: len(word) - len(word.lstrip("+~"))]
    key, equals, value = word[len(sign) :].partition("=")
    if equals:
        before, last = re.findall(r"(.*[\[,]|)(.*)", value)[0]  # of a list or a sweep, its last element
        found = [option for option in _values(command, key, last) if option.startswith(last)]
        return [f"{sign}{key}={before}{option}" for option in found]
    names = ["conf", *_groups(command), *(k.name for k in keys(command))]
    found = [f"{sign}{name}=" for name in dict.fromkeys(names) if name.startswith(key)]
    return found + (_files(word) if command in POSITIONAL and word else [])


def _groups(command: str) -> dict[str, list[str]]:
    return {name: options for name, options in groups().items() if name in defaults(command)}


def _values(command: str, key: str, value: str) -> list[str]:
    files = _files(value)
    if key == "conf":
        return [*recipes(command), *(f for f in files if f.endswith((".yaml", ".yml", "/")))]
    if key in _groups(command):
        return [*_groups(command)[key], *(files if key == "data" else [])]
    if key in ("init", "models", "judged_by", "judge.init", "reference", "data.path"):
        return ["latest", *files]
    if key == "judge.path":
        return files
    default = next((k for k in keys(command) if k.name == key), None)
    if default is None:
        return []
    if default.default in ("true", "false"):
        return ["true", "false"]
    if "One of: " in default.comment:
        return default.comment.rpartition("One of: ")[2].rstrip(".").split(", ")
    return [] if "${" in default.default else [default.default]


def _files(start: str) -> list[str]:
    """Paths that begin with `start`, as it was typed; folders end with a slash."""
    folder, slash, name = start.rpartition("/")
    try:
        found = sorted(Path(folder + slash).expanduser().iterdir())
    except OSError:  # no such folder
        return []
    shown = [p for p in found if p.name.startswith(name) and (name or not p.name.startswith("."))]
    return [f"{folder}{slash}{p.name}{'/' if p.is_dir() else ''}" for p in shown]
