"""The command line. Nothing heavy is imported here, so that --help is quick."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from llmtrain.errors import Interrupted, LlmtrainError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

COMMANDS = {
    "pretrain": "Step 1: predict the next token of a corpus. The result only completes text.",
    "sft": "Step 2: teach the model to follow instructions, by demonstrations.",
    "sample": "Step 3a: the model writes several answers to each prompt, to be ranked.",
    "reward": "Step 3b: a reward model learns the rankings, to stand in for the people who ranked.",
    "ppo": "Step 3c: improve the model on the reward model's score until it is good enough.",
    "dpo": "Step 3, the newer way: improve the model on the rankings, without a reward model.",
    "pipeline": "All steps in one run tree, each finding the one before.",
    "eval": "Models side by side on the same held-out prompts: loss, grades, wins against a reference.",
    "data": "Show what a stage will see of your data, before training.",
}


class HydraCommand(TyperCommand):
    """A command whose whole argument list belongs to Hydra, but for --help and --version."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if {"--help", "-h"} & set(args):
            from llmtrain.config.usage import usage

            typer.echo(usage(ctx.command_path, str(self.name), self.help or ""))
            ctx.exit()
        if "--version" in args:
            _version(True)
        ctx.args = list(args)
        return []

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        from typer._click.shell_completion import CompletionItem

        from llmtrain.config.completion import complete

        return [CompletionItem(word) for word in complete(str(self.name), ctx.args, incomplete)]


def _add(name: str, text: str) -> None:
    @app.command(name, cls=HydraCommand, add_help_option=False, help=text)
    def command(ctx: typer.Context) -> None:
        from llmtrain.config.app import main as run

        raise typer.Exit(run(name, ctx.args, prog=ctx.command_path))


for _name, _text in COMMANDS.items():
    _add(_name, _text)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("llmtrain"))
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train a language model the whole way: pretrain, sft, reward and ppo (or dpo). From YAML, resumable to the bit.

    Begin with `llmtrain pipeline`: all steps on embedded data, in minutes on two CPU cores.
    """


class PlanCommand(HydraCommand):
    """`plan`: its own --help, and a first word that is the command whose settings follow."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        from typer._click.shell_completion import CompletionItem

        from llmtrain.config.completion import complete
        from llmtrain.config.planning import COMMANDS as PLANNED

        if not ctx.args:
            return [CompletionItem(word) for word in PLANNED if word.startswith(incomplete)]
        known = ctx.args[0] in PLANNED
        return [CompletionItem(word) for word in complete(ctx.args[0], ctx.args[1:], incomplete)] if known else []


@app.command("plan", cls=PlanCommand, add_help_option=False)
def plan(ctx: typer.Context) -> None:
    """What a command would need here, memory, disk and time, and what to change where that is too much."""
    from llmtrain.config.planning import main as planned

    raise typer.Exit(planned(ctx.args))


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory; `llmtrain runs` lists them.")],
) -> None:
    """Go on with a run that was interrupted, from its newest intact checkpoint, to the same bits."""
    from llmtrain.run.listing import farewell, run_at
    from llmtrain.run.lock import refuse_second

    path = run_at(run)
    refuse_second(path)  # before torch is loaded and anything is written
    done = farewell(path)
    if done:
        typer.echo(done)
        raise typer.Exit()
    from llmtrain.config.app import run as execute
    from llmtrain.run.directory import read_config
    from llmtrain.run.logs import plain

    read_config(run)
    plain(run)
    code, _ = execute(run)
    raise typer.Exit(code)


@app.command()
def runs(
    root: Annotated[
        Path | None, typer.Argument(metavar="ROOT", help="Where the runs are; else $LLMTRAIN_RUNS, or runs.")
    ] = None,
) -> None:
    """Show what came from what, how it stands, its step and headline metric."""
    from rich.console import Console

    from llmtrain.run.listing import table

    place = root or Path(os.environ.get("LLMTRAIN_RUNS") or "runs")
    view = table(place) if root or place.is_dir() else None
    if view:
        Console().print(view)
    else:
        typer.echo(f"no runs in {place} yet; try: llmtrain pipeline")


@app.command()
def doctor(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories; a pipeline with its stages.")],
) -> None:
    """Say what ails runs, with the numbers behind it and what to try."""
    from llmtrain.run.findings import report
    from llmtrain.run.listing import run_at

    for line in report([run_at(run) for run in runs]):
        typer.echo(line)


def main() -> None:
    """Run the command line; errors become one message and an exit code."""
    tune()
    try:
        app()
    except (LlmtrainError, Interrupted) as error:
        from llmtrain.run.provenance import redact

        print(f"llmtrain: {redact(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def tune() -> None:
    """Settings that only count before torch loads: a thread that waits gives its core away (performance, item 6)."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
