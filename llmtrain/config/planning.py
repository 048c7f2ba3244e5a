"""`llmtrain plan COMMAND ...`: the command line of COMMAND, told of instead of run."""

import json

import typer

from llmtrain.errors import ConfigError

COMMANDS = ("pretrain", "sft", "sample", "reward", "ppo", "dpo", "eval", "pipeline")
JSON, FLOPS = "--json", "--flops"
USAGE = f"""Usage: llmtrain plan COMMAND [conf=RECIPE|FILE.yaml] [KEY=VALUE ...] [--json] [--flops=NUMBER]

What COMMAND with these settings would need on this machine, in seconds and without reading the model or the data:
parameters, tokens, FLOPs, memory of every model involved, checkpoints, disk and time; and where it does not fit,
which keys to change.

Commands: {", ".join(COMMANDS)}; `llmtrain COMMAND --help` lists recipes and keys.

Rows are taken at their longest, so memory is what the largest micro-batch takes. A model that an earlier stage has
not made yet is taken for what the pretrain recipe of the same name makes; files that are not there yet are no error.

Examples:
  llmtrain plan ppo conf=tiny
  llmtrain plan pretrain conf=gpt2-124m launch.nproc_per_node=8
  llmtrain plan pipeline conf=tiny --json

Exit code 1 where something does not fit.

Flags:
  --json           The numbers as JSON: bytes, operations, seconds.
  --flops=NUMBER   Operations a second of one device, such as 4e14, in place of a measurement here.
  --help           This page."""


def main(args: list[str]) -> int:
    """Print the plan; returns the exit code, 1 where something does not fit. Raises LlmtrainError."""
    if not args or {"--help", "-h"} & set(args):
        typer.echo(USAGE)
        return 0
    command, *rest = args
    from llmtrain.config import app
    from llmtrain.config.names import meant

    if command not in COMMANDS:
        raise ConfigError(
            f"plan: {command!r} is no command{meant(command, COMMANDS)}; give one of {', '.join(COMMANDS)}"
        )
    flops = _flops([word for word in rest if word.startswith(FLOPS)])
    config, folder, steps = app.steps_of(
        command, [word for word in rest if word != JSON and not word.startswith(FLOPS)]
    )
    from llmtrain.stages.prospect import prospects

    told = prospects(steps, folder, flops)
    if JSON in rest:
        typer.echo(json.dumps(told, indent=1))
    else:
        from rich.console import Console

        from llmtrain.estimate.table import report

        Console().print(report(told))
    return 0 if all(stage[part]["fits"] for stage in told for part in ("memory", "disk")) else 1


def _flops(words: list[str]) -> float | None:
    """The value of --flops=NUMBER."""
    if not words:
        return None
    text = words[-1].partition("=")[2]
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"{FLOPS}: {text!r} is no number of operations a second; write {FLOPS}=4e14")
    return value
