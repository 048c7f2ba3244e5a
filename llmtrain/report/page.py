"""The page: runs in, one HTML file out that needs no network, no script and no other file.

Three walls stand between the texts in it and whoever opens it: every text is escaped by the template (autoescape),
unseen characters are shown by their number before that (finalize), and the page's own policy forbids scripts, requests
and frames. Pictures come from draw.py, which lets known elements through alone.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from llmtrain.errors import InitError, RunError
from llmtrain.report import collect, compare, parts
from llmtrain.report.collect import Run
from llmtrain.report.parts import Limits
from llmtrain.report.settings import varied
from llmtrain.run import directory, durable, listing
from llmtrain.run.provenance import redact
from llmtrain.web.visible import visible

log = logging.getLogger("llmtrain")

NAME = "report.html"
LARGEST = 3_000_000  # bytes of a page
TEMPLATES = Path(__file__).parent / "templates"
LADDER = (  # what is shown, and what of it is left when that is too much for LARGEST
    Limits(columns=300, shown=4, characters=700, runs=12),
    Limits(columns=120, shown=4, characters=250, runs=8),
    Limits(columns=60, shown=2, characters=120, runs=4),
    Limits(columns=30, shown=0, characters=60, runs=0),
)


@dataclass(frozen=True)
class Made:
    """Where the page is, and its bytes."""

    path: Path
    size: int


def write(paths: Sequence[Path], out: Path | None = None) -> Made:
    """Make the page of runs, pipelines or folders of sweeps; of several runs they are compared.

    out: else report.html in the run or the sweep; of several, in the working directory. Raises InitError, RunError.
    """
    found = [runs_at(path) for path in paths]
    single = len(paths) == 1
    file = out or ((paths[0] if single else Path()) / NAME)
    _check(file)
    sweep = paths[0].resolve().name if single and not (paths[0] / directory.CONFIG).is_file() else ""
    text = html(_read([run for runs in found for run in runs], bool(sweep)), sweep)
    try:
        durable.write_text(file, text)
    except OSError as error:
        raise RunError(f"{file}: cannot be written ({error.strerror}); give --out FILE.html elsewhere") from error
    return Made(file, len(text.encode()))


def at_the_end(path: Path) -> None:
    """The page of a run that just ended, beside it. What goes wrong is a warning: the run is done."""
    try:
        made = write([path])
        log.info("report: %s (%s)", made.path, size(made.size))
    except Exception as error:  # a picture must not turn a good run into a failed one
        log.warning(
            "%s could not be made (%s: %s); try: llmtrain report %s", path / NAME, type(error).__name__, error, path
        )


def runs_at(path: Path) -> list[Path]:
    """The run that `path` names, or the jobs of the sweep. Raises InitError."""
    if path.is_dir() and not (path / directory.CONFIG).is_file():
        jobs = [job for job in path.iterdir() if directory.JOB.fullmatch(job.name)]
        jobs = [job for job in jobs if (job / directory.CONFIG).is_file()]
        if jobs:
            return sorted(jobs, key=lambda job: (int(job.name.partition("-")[0]), job.name))
    return [listing.run_at(path)]


def _check(file: Path) -> None:
    """That `file` can be written, before any work."""
    if file.suffix.lower() not in (".html", ".htm"):
        raise InitError(f"--out {file}: the report is a page; give a name that ends in .html")
    if file.is_dir():
        raise InitError(f"--out {file}: is a folder; give the name of a file in it: {file / NAME}")
    if not file.parent.is_dir():
        raise InitError(f"--out {file}: there is no folder {file.parent}; make it first, or give another")


def _read(paths: list[Path], sweep: bool) -> list[Run]:
    """The runs with names that tell them apart."""
    paths = list(dict.fromkeys(path.resolve() for path in paths))
    runs = [collect.read(path, path.name, f"run-{n}") for n, path in enumerate(paths)]
    for run, name in zip(runs, _names(runs, sweep), strict=True):
        run.label = name
    return runs


def _names(runs: list[Run], sweep: bool) -> list[str]:
    """What a sweep varied; else the runs' names, with their ids, or their whole paths: the first that all differ in."""
    if len(runs) == 1 and not sweep:
        return [f"{runs[0].command} {collect.mapping(runs[0].config.get('run')).get('name') or runs[0].path.name}"]
    overrides = varied(runs) if sweep else []
    ways = (
        [" ".join(f"{key}={values[n]}" for key, values in overrides) for n in range(len(runs))],
        [str(collect.mapping(run.config.get("run")).get("name") or run.path.name) for run in runs],
        ["/".join(run.path.parts[-2:]) for run in runs],
    )
    return next((names for names in ways if all(names) and len(set(names)) == len(runs)), [str(r.path) for r in runs])


def html(runs: list[Run], sweep: str = "") -> str:
    """The page as text of at most LARGEST bytes. sweep: the name of the folder whose jobs the runs are."""
    for limits in LADDER:
        several = len(runs) > 1 or sweep
        text = _rendered(compare.page(runs, sweep, limits) if several else parts.page(runs[0], limits))
        if len(text.encode()) <= LARGEST:
            return text
    raise RunError(f"the page of {len(runs)} runs is larger than {LARGEST:,} bytes; name fewer")


def _rendered(content: dict[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": parts.share, "duration": parts.duration, "size": size}
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    template = environment.get_template("page.html")
    return template.render(content, style=style, made=made, version=_version())


def _shown(value: Any) -> Any:
    """What becomes of every value that the template puts into the page, before it is escaped."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(redact(value))
    return value


def _version() -> str:
    try:
        return version("llmtrain")
    except PackageNotFoundError:  # an uninstalled checkout
        return ""


def size(n: int) -> str:
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.0f} kB"
