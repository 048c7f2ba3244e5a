"""Where conf/ lies, and what is in it, read as plain text: no YAML parser, so `--help` stays quick."""

import re
from pathlib import Path

STAGES = ("pretrain", "sft", "sample", "rank", "reward", "ppo", "dpo", "eval")  # of a pipeline
PARTS = {"pipeline": STAGES, "rank": ("sample",)}  # command -> the commands whose keys it takes, under their names

_package = Path(__file__).resolve().parents[1]
# In a wheel conf/ lies inside the package; in a checkout or an editable install, beside it.
CONF = _package / "conf" if (_package / "conf").is_dir() else _package.parent / "conf"


def recipes(command: str) -> dict[str, Path]:
    """name -> file of what `conf=NAME` selects."""
    return {path.stem: path for path in sorted((CONF / "recipes" / command).glob("*.yaml"))}


def parts(command: str) -> tuple[str, ...]:
    """The commands that `command` runs, each configured under its name."""
    return PARTS.get(command, ())


def groups() -> dict[str, list[str]]:
    """group -> its options."""
    folders = (d for d in sorted(CONF.iterdir()) if d.is_dir() and d.name != "recipes")
    return {d.name: sorted(p.stem for p in d.glob("*.yaml")) for d in folders}


def telling(group: str) -> set[str]:
    """The keys of a group by which its options differ."""
    texts = [path.read_text(encoding="utf-8") for path in (CONF / group).glob("*.yaml")]
    options = [dict(re.findall(r"^(\w+): (.*)$", text, re.MULTILINE)) for text in texts]
    return {key for key in options[0] if len({option[key] for option in options}) > 1}


def defaults(command: str) -> dict[str, str]:
    """The group options that the root of a command chooses, in its order."""
    text = (CONF / f"{command}.yaml").read_text(encoding="utf-8")
    return dict(re.findall(r"^  - (\w+): (\w+)$", text, re.MULTILINE))


def summary(path: Path) -> str:
    """The first comment line of a YAML file."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""
