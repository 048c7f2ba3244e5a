"""<TAB>: recipes, files, group options, keys and enum members, from the YAML files and the schema's names."""

from pathlib import Path

from llmtrain.config.paths import groups, recipes
from llmtrain.config.usage import keys


def complete(command: str, args: list[str], incomplete: str) -> list[str]:
    """What the shell should offer for the word that is being typed.

    bash breaks words at `=`: `conf=ti` arrives as `conf`, `=`, `ti`, and wants the right side alone. zsh does not.
    """
    if args and args[-1] == "=":
        whole, cut = f"{args[-2]}={incomplete}", len(args[-2]) + 1
    elif not incomplete and args and "=" not in args[-1] and not args[-1].startswith("-") and args[-2:-1] != ["="]:
        whole, cut = args[-1] + "=", len(args[-1]) + 1
    else:
        whole, cut = incomplete, 0
    return [word[cut:] for word in candidates(command, whole)]


def candidates(command: str, word: str) -> list[str]:
    """Whole words that begin with `word`."""
    sign = word[: len(word) - len(word.lstrip("+~"))]
    key, equals, value = word[len(sign) :].partition("=")
    if equals:
        return [f"{sign}{key}={option}" for option in _values(command, key, value) if option.startswith(value)]
    names = ["conf", *groups(), *(k.name for k in keys(command))]
    return [f"{sign}{name}=" for name in dict.fromkeys(names) if name.startswith(key)]


def _values(command: str, key: str, value: str) -> list[str]:
    files = [str(p) + ("/" if p.is_dir() else "") for p in sorted(Path().glob(f"{value}*"))]
    if key == "conf":
        return [*recipes(command), *(f for f in files if f.endswith((".yaml", ".yml", "/")))]
    if key in groups():
        return [*groups()[key], *(files if key == "data" else [])]
    if key in ("init", "judge.init", "reference", "data.path"):
        return ["latest", *files]
    default = next((k for k in keys(command) if k.name == key), None)
    if default is None:
        return []
    if default.default in ("true", "false"):
        return ["true", "false"]
    choices = default.comment.rpartition("One of: ")[2].rstrip(".") if "One of: " in default.comment else ""
    return choices.split(", ") if choices else [default.default]
