"""The words of a command line: flags apart from settings, and values in Hydra's grammar. No Hydra in here."""

import re
from collections.abc import Iterable

from llmtrain.errors import ConfigError

ELEMENT = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[^\[\],]+")  # of a list, brackets around it or not
YAML = (".yaml", ".yml")
# Flags with a value and what it may be; --info does without one.
VALUES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
    "--package": (),
}
# command -> the key that words which are no settings give the list of
POSITIONAL = {"eval": "models", "chat": "models", "rank": "sources"}
LONG = {"-c": "--cfg", "-i": "--info", "-p": "--package", "-m": "--multirun"}

# command -> flags of its own, which stand for settings, and what they are for
TALKS = ("chat",)  # commands that leave no run behind
SHORTHANDS = {"chat": {"--web": "Talk in a page (web=true).", "--prompt TEXT": "Answer TEXT, whatever is in it."}}


def spoken(args: Iterable[str], command: str) -> tuple[list[str], str | None]:
    """The arguments with a command's own flags as settings, and TEXT of `--prompt TEXT`, which nothing interprets.

    A setting prompt=TEXT stands for it among the others. Raises ConfigError.
    """
    if command not in SHORTHANDS:
        return list(args), None
    out: list[str] = []
    texts: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--prompt" and not rest:
            raise ConfigError("--prompt: no text behind it; give --prompt TEXT")
        if word == "--prompt" or word.startswith("--prompt="):
            texts.append(rest.pop(0) if word == "--prompt" else word.partition("=")[2])
        else:
            out.append("web=true" if word == "--web" else word)
    if len(texts) > 1 or (texts and any(word.startswith("prompt=") for word in out)):
        raise ConfigError("prompt: given twice; drop one of them")
    return out + ["prompt=TEXT"] * len(texts), texts[0] if texts else None


def split(args: Iterable[str], command: str = "") -> tuple[list[str], list[str]]:
    """Flags, and settings: argparse takes no settings on both sides of a flag. Behind `--` there are settings alone.

    command: whose plain words, if it takes any (POSITIONAL), become one setting that lists them.

    Raises ConfigError for a flag's value that cannot be, and for words that are no settings.
    """
    flags: list[str] = []
    settings: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            settings, rest = settings + rest, []
        elif not word.startswith("-"):
            settings.append(word)
        else:
            flags += _flag(word, rest)
    plain = [word for word in settings if "=" not in word and not word.startswith("~")]
    settings = [word for word in settings if word not in plain]
    key = POSITIONAL.get(command)
    named = [word for word in plain if key and word.strip() and not word.endswith(YAML)]
    faults = [_no_setting(word) for word in plain if word not in named]
    if named and any(setting.lstrip("+").startswith(f"{key}=") for setting in settings):
        faults.append(f"{key}: given twice, as {key}= and as {' '.join(named)}; drop one of them")
    if faults:
        raise ConfigError("\n".join(faults))
    settings += [f"{key}={literal(named)}"] if named else []
    return flags, [readable(setting) for setting in settings]


def _flag(word: str, rest: list[str]) -> list[str]:
    """A flag with its value, which is taken off `rest`."""
    name, equals, value = word.partition("=")
    name = LONG.get(name, name)
    if name not in VALUES:
        return [name]
    known = VALUES[name]
    if not equals:
        value = rest.pop(0) if rest and (rest[0] in known or "=" not in rest[0]) else ""
    value = value or ("all" if name == "--info" else "")
    if not value or (known and value not in known):
        wanted = f"one of {', '.join(known)}" if known else "the name of a part, such as optimizer"
        raise ConfigError(f"{name}: {value!r} is none of its values; give {wanted}")
    return [name, value]


def _no_setting(word: str) -> str:
    if not word.strip():
        return f"{word!r}: an empty word; drop it (a shell variable that is not set?)"
    key = "conf" if word.endswith(YAML) else "data" if "/" in word or "." in word else ""
    return f"{word}: settings are written KEY=VALUE" + (f"; did you mean {key}={word}?" if key else "")


def readable(setting: str) -> str:
    """Plain values that are not ASCII in quotes, which the grammar asks for."""
    key, equals, value = setting.partition("=")
    if value.isascii() or any(sign in value for sign in "{(\\"):
        return setting
    return key + equals + ELEMENT.sub(lambda m: m[0] if m[0].isascii() or m[0][0] in "'\"" else quoted(m[0]), value)


def quoted(text: str) -> str:
    """A text in Hydra's override grammar, where a backslash counts only before a quote and at the end."""
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", text) + "'"


def bare(text: str) -> str:
    """The text inside quotes, or the text itself."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(rf"\\({text[0]})", r"\1", text[1:-1])
    return text.strip("'\"")


def literal(value: object) -> str:
    """A value in Hydra's override grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(map(literal, value)) + "]"
    plain = re.compile(r"[A-Za-z_][\w./:-]*", re.ASCII)
    if isinstance(value, str) and (value in ("true", "false", "null") or not plain.fullmatch(value)):
        return quoted(value)
    return str(value)
