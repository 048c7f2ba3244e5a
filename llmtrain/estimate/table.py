"""Summaries as tables for a terminal of 80 columns."""

from collections.abc import Iterable
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "cache")
HEADS = ("weights", "grads", "optim.", "activ.", "logits", "cache")


def report(stages: list[dict[str, Any]]) -> Group:
    """One stage in full, several a line each; what does not fit, and what to do about it, below."""
    body: list[Any] = []
    if len(stages) == 1:
        told = stages[0]
        body += [_models(told), Text(), _facts(told)]
    else:
        body += [_stages(stages)]
    for told in stages:
        mark = f"{told['stage']}: " if len(stages) > 1 else ""
        body += [Text(f"note: {mark}{note}") for note in told["notes"]]
        body += [Text(f"{mark}{line}", style="bold") for line in told["advice"]]
    return Group(*body)


def size(count: float) -> str:
    """Bytes in the unit that fits."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def amount(count: float) -> str:
    """A number with the letter that fits."""
    return operations(count).replace(" ", "")


def operations(count: float) -> str:
    """The same, set apart for the unit behind it."""
    return _scaled(count, 1000, ("", "k", "M", "G", "T", "P", "E", "Z"))


def duration(seconds: float) -> str:
    for most, unit, length in ((90, "s", 1), (5400, "min", 60), (172800, "h", 3600)):
        if seconds < most:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86400:,.0f} days"


def _scaled(count: float, base: int, units: tuple[str, ...]) -> str:
    number = float(count)
    for unit in units:
        if number < 999.5 or unit == units[-1]:
            break
        number /= base
    return f"{number:.3g} {unit}"


def _models(told: dict[str, Any]) -> Table:
    """Memory by model, for one process."""
    view = Table(title=f"{told['stage']}: memory of one process, by model", title_justify="left", box=None)
    view.add_column("model")
    for head in ("params", *HEADS):
        view.add_column(head, justify="right")
    for model in told["models"]:
        view.add_row(model["role"], amount(model["parameters"]), *(_brief(model[part]) for part in PARTS))
    return view


def _brief(count: int) -> str:
    """Narrow enough for eight columns."""
    return size(count).replace("iB", "").replace(" ", "") if count else "-"


def _facts(told: dict[str, Any]) -> Table:
    view = Table(box=None, show_header=False, pad_edge=False)
    view.add_column(style="bold")
    view.add_column()
    for name, text in _lines(told):
        view.add_row(name, text)
    return view


def _lines(told: dict[str, Any]) -> Iterable[tuple[str, str]]:
    memory, disk, step, run = told["memory"], told["disk"], told["step"], told["run"]
    layout, machine = told["layout"], told["machine"]
    processes, more = layout["processes"], " at most" if run["steps"] else ""
    yield "peak", ", ".join(f"{phase} {size(count)}" for phase, count in memory["phases"].items())
    each = f" ({processes} processes, each {size(memory['peak'] + memory['process'])})" if processes > 1 else ""
    yield "memory", f"{size(memory['needed'])}{each} of {size(memory['available'])} {layout['device']}: {_fits(memory)}"
    if disk["checkpoint"]:
        kept = f"{size(disk['checkpoint'])} a checkpoint, {disk['kept']} at once: {size(disk['needed'])}"
        yield "disk", f"{kept} of {size(disk['available'])}: {_fits(disk)}"
    batches = layout["micro_batches"]
    each = f", {batches} micro-batch{'es' * (batches > 1)} an update" if batches else ""
    if step["tokens"]:
        yield (
            "step",
            f"{amount(step['tokens'])} tokens{each}, {operations(step['flops'])}FLOP, {duration(step['seconds'])}",
        )
    if run["steps"]:
        tokens = f"{amount(run['steps'])} steps, {amount(run['tokens'])} tokens, " if step["tokens"] else ""
        yield f"run{more}", f"{tokens}{operations(run['flops'])}FLOP, {duration(run['seconds'])}"
    else:
        yield "run", "unknown: how many rows there are is not told; set max_steps or data.rows"
    speeds = f"{operations(machine['flops'])}FLOP/s, {size(machine['bandwidth'])}/s"
    yield "speed", f"{speeds} a process: times are what products and memory alone take"


def _fits(told: dict[str, Any]) -> str:
    return "fits" if told["fits"] else "DOES NOT FIT"


def _stages(stages: list[dict[str, Any]]) -> Table:
    view = Table(title="plan of the stages", title_justify="left", box=None)
    view.add_column("stage")
    for head in ("params", "memory", "steps", "tokens", "FLOP", "time", "disk", ""):
        view.add_column(head, justify="right")
    for told in stages:
        run, fits = told["run"], told["memory"]["fits"] and told["disk"]["fits"]
        known = [run[key] for key in ("steps", "tokens", "flops", "seconds")]
        numbers = [amount(x) if x else "-" for x in known[:3]] + [duration(known[3]) if known[3] else "-"]
        size_of = [amount(sum(m["parameters"] for m in told["models"])), size(told["memory"]["needed"])]
        view.add_row(told["stage"], *size_of, *numbers, _brief(told["disk"]["needed"]), "fits" if fits else "NO")
    total = sum(told["run"]["seconds"] or 0 for told in stages)
    disk = sum(told["disk"]["needed"] for told in stages)
    view.add_row("all", "", "", "", "", "", duration(total), _brief(disk), "")
    return view
