"""`--help` from the YAML files alone: recipes, groups, and every key with its comment and default."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmtrain.config.paths import CONF, defaults, groups, recipes, summary
from llmtrain.config.words import POSITIONAL, SHORTHANDS, TALKS

SWEEP = "  -m, --multirun   Sweep: every combination of comma-separated values.\n"
EXAMPLES = {
    "pretrain": ["data=my.txt", "conf=shakespeare-char data=tinyshakespeare.txt", "-m optimizer.lr=1e-3,3e-3"],
    "sft": ["init=runs/pretrain/tiny/latest", "data=alpaca.json epochs=3"],
    "sample": ["init=runs/sft/tiny/latest answers=4"],
    "rank": ["runs/sample/tiny/latest", "runs/sft/tiny/latest raters=[anna,ben] raters_per_prompt=2"],
    "reward": ["data=runs/sample/tiny/latest", "data=hh.jsonl.gz data.on_bad_row=skip"],
    "ppo": [
        "judge.init=runs/reward/tiny/latest kl.coef=1.0",
        "-m advantage=gae,rloo,grpo kl.coef=0.5,1.0",
        "conf=real data=sums.jsonl judge=function judge.path=my_reward.py:score",
    ],
    "dpo": ["data=runs/sample/tiny/latest beta=0.3", "data=preferences.json"],
    "eval": ["runs/ppo/tiny/latest", "runs/sft/tiny/latest runs/ppo/tiny/latest reference=latest judged_by=latest"],
    "chat": [
        "runs/ppo/tiny/latest",
        "runs/pretrain/tiny/latest runs/sft/tiny/latest runs/ppo/tiny/latest judged_by=latest",
        "runs/ppo/tiny/latest --web",
    ],
    "data": ["stage=sft data=alpaca.json", "stage=pretrain data=[corpus/,more.txt]"],
    "pipeline": ["rounds=2", "annotate=people improve=dpo", "ppo.kl.coef=0.5 sft.epochs=2"],
}


@dataclass(frozen=True)
class Key:
    name: str
    default: str
    comment: str


def usage(prog: str, command: str, text: str) -> str:
    """The help page of a Hydra command."""
    chosen = defaults(command)
    options = {name: _options(name, o, chosen.get(name)) for name, o in groups().items() if name in chosen}
    rows = [(f"{key.name}={key.default}", key.comment) for key in keys(command)]
    examples = "\n".join(f"  {prog} {line}" for line in EXAMPLES[command])
    plain = "[RUN ...] " if command in POSITIONAL else ""
    return f"""Usage: {prog} {plain}[conf=RECIPE|FILE.yaml] [KEY=VALUE ...] [FLAGS]

{text}

Recipes (conf=, default tiny):
{_table([(name, summary(path)) for name, path in recipes(command).items()])}
{_groups(options)}
Keys (KEY=VALUE; these are the values before a recipe):
{_table(rows)}

Examples:
{examples}

Flags:
{_own(command)}  --cfg job        Print the configuration instead of running.
{"" if command in TALKS else SWEEP}  --hydra-help     Hydra's other flags.
  --help           This page."""


def _groups(options: dict[str, str]) -> str:
    return f"\nGroups (GROUP=OPTION):\n{_table(list(options.items()))}\n" if options else ""


def _own(command: str) -> str:
    return "".join(f"  {flag:<16} {text}\n" for flag, text in SHORTHANDS.get(command, {}).items())


def _options(group: str, names: list[str], chosen: str | None) -> str:
    texts = [f"{n}*" if n == chosen else n for n in names]
    return ", ".join(texts)


def _table(rows: list[tuple[str, str]]) -> str:
    width = min(44, max((len(name) for name, _ in rows), default=0))
    return "\n".join(f"  {name:<{width}}  {text}".rstrip() for name, text in rows)


def keys(command: str) -> Iterator[Key]:
    """Every key of a command with its comment: the root's own, then those of its groups."""
    for file, prefix in [(CONF / "base.yaml", ""), (CONF / f"{command}.yaml", "")]:
        yield from _keys(file, prefix)
    for group, option in defaults(command).items():
        if (CONF / group / f"{option}.yaml").is_file():
            yield from _keys(CONF / group / f"{option}.yaml", f"{group}.")


def _keys(file: Path, prefix: str) -> Iterator[Key]:
    """Keys of one file. A comment above a key explains it; two spaces of indent are one level."""
    comment: list[str] = []
    parents: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        bare = line.strip()
        if bare.startswith("#"):
            comment.append(bare.lstrip("# "))
            continue
        name, colon, value = bare.partition(":")
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], name]
        own = parents[0] not in ("defaults", "hydra", "command") and not bare.startswith("-")
        if colon and own and value.strip():
            yield Key(prefix + ".".join(parents), value.strip(), " ".join(comment))
        comment = []
