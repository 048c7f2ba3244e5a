"""The command line. Nothing heavy is imported here, so that --help is quick."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from llmtrain.errors import ConfigError, Interrupted, LlmtrainError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

COMMANDS = {
    "pretrain": "Step 1: predict the next token of a corpus. The result only completes text.",
    "sft": "Step 2: teach the model to follow instructions, by demonstrations.",
    "sample": "Step 3a: the model writes several answers to each prompt, to be ranked.",
    "rank": "Step 3a, people's part: rank the answers in a page of this machine; `rank export` and `rank import`.",
    "reward": "Step 3b: a reward model learns the rankings, to stand in for the people who ranked.",
    "ppo": "Step 3c: improve the model on the reward model's score until it is good enough.",
    "dpo": "Step 3, the newer way: improve the model on the rankings, without a reward model.",
    "pipeline": "All steps in one run tree, each finding the one before.",
    "eval": "Models side by side on the same held-out prompts: loss, grades, wins against a reference.",
    "chat": "Talk to models, side by side: in the terminal, in a page, or from a script.",
    "data": "Show what a stage will see of your data, before training.",
}


class HydraCommand(TyperCommand):
    """A command whose whole argument list belongs to Hydra, but for --help and --version."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if {"--help", "-h"} & set(args):
            from llmtrain.config.usage import usage

            typer.echo(usage(f"llmtrain {self.name}", str(self.name), self.help or ""))
            ctx.exit()
        if "--version" in args:
            _version(True)
        ctx.args = list(args)
        return []

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        from typer._click.shell_completion import CompletionItem

        from llmtrain.config.completion import complete

        return [CompletionItem(word) for word in complete(str(self.name), ctx.args, incomplete)]


class WithDefault(TyperGroup):
    """`llmtrain rank RUN` beside `llmtrain rank export RUN`: other words go to the command of the group."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args and args[0] in self.commands else [str(self.name), *args])


def _add(name: str, text: str, to: typer.Typer, hidden: bool = False) -> None:
    @to.command(name, cls=HydraCommand, add_help_option=False, help=text, hidden=hidden)
    def command(ctx: typer.Context) -> None:
        from llmtrain.config.app import main as run

        raise typer.Exit(run(name, ctx.args, prog=f"llmtrain {name}"))


rank = typer.Typer(cls=WithDefault, rich_markup_mode=None)
for _name, _text in COMMANDS.items():
    if _name == "rank":
        app.add_typer(rank, name=_name, help=_text)
    _add(_name, _text, *((rank, True) if _name == "rank" else (app,)))


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
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on showing them, with live curves; needs a terminal. Ctrl-C ends it.")
    ] = False,
    every: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How often --watch looks again; else once a second.")
    ] = None,
) -> None:
    """Show what came from what, how it stands, its step and headline metric."""
    from rich.console import Console

    from llmtrain.run.listing import table

    if every is not None and not watch:
        raise ConfigError("--every does nothing without --watch; add it, or leave --every out")
    place = root or Path(os.environ.get("LLMTRAIN_RUNS") or "runs")
    if watch:
        from llmtrain.run import watch as live

        live.watch(place, 1.0 if every is None else every, Console(), must_exist=root is not None)
        return
    view = table(place) if root or place.is_dir() else None
    if view:
        Console().print(view)
    else:
        typer.echo(f"no runs in {place} yet; try: llmtrain pipeline")


@app.command()
def samples(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of pretrain, sft, ppo, dpo, sample or eval.")],
    step: Annotated[
        int | None, typer.Option(metavar="N", help="Of this step; else of the first, the middle and the newest.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Of every step.")] = False,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only prompts that hold this text, in any case.")
    ] = None,
    rows: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many prompts.")] = 10,
) -> None:
    """Show what the model wrote at each evaluation, side by side; piped, as plain lines that are not cut."""
    from rich.console import Console

    from llmtrain.run import reading
    from llmtrain.run.listing import run_at
    from llmtrain.run.samples import read

    found = reading.chosen(read(run_at(run), step, every), prompt)
    console = Console()
    if console.is_terminal:
        console.print(reading.table(found, rows, console.width))
    else:
        typer.echo("\n".join(reading.plain(found, rows)))
    for note in reading.notes(found, rows):
        typer.echo(note, err=True)


@app.command()
def doctor(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories; a pipeline with its stages.")],
) -> None:
    """Say what ails runs, with the numbers behind it and what to try."""
    from llmtrain.run.findings import report
    from llmtrain.run.listing import run_at

    for line in report([run_at(run) for run in runs]):
        typer.echo(line)


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Runs, pipelines, or the folder of a sweep; several compare.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page to write; else report.html in the run; of several, here."),
    ] = None,
) -> None:
    """Make one HTML page of a run, a pipeline or a sweep: curves, grades, answers, lineage, configuration."""
    from llmtrain.report import page

    made = page.write(runs, out)
    typer.echo(f"{made.path}  {page.size(made.size)}")


@rank.command("export")
def rank_export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A rank run, also while it goes on.")],
    to: Annotated[Path, typer.Option(metavar="FILE", help="Where to; nothing is overwritten.")],
    pairs: Annotated[
        bool, typer.Option("--pairs", help="prompt, chosen, rejected: a line for each pair, for other tools.")
    ] = False,
) -> None:
    """Write the votes of a rank run as JSON Lines that `reward` and `dpo` take: a ranking a line, or pairs."""
    from llmtrain.run.listing import run_at
    from llmtrain.stages.votes import export

    typer.echo(export(run_at(run), to, pairs))


@rank.command("import")
def rank_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="chosen/rejected rows, or records of Argilla.")],
    to: Annotated[Path, typer.Option(metavar="FILE", help="Where to; nothing is overwritten.")],
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out and count them.")] = False,
) -> None:
    """Turn the preferences of other tools into rankings that `reward` and `dpo` take."""
    from llmtrain.stages.votes import import_file

    typer.echo(import_file(str(file), to, skip_bad))


def main() -> None:
    """Run the command line; errors become one message and an exit code."""
    environment()
    try:
        app()
    except (LlmtrainError, Interrupted) as error:
        from llmtrain.run.provenance import redact

        print(f"llmtrain: {redact(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def environment() -> None:
    """Settings that only count before the libraries load that read them; launch/tuning.py has those of torch."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
