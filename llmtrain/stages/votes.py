"""The votes of a rank run: opening them, and `llmtrain rank export` and `import`. No torch here."""

import hashlib
from contextlib import closing
from pathlib import Path

from llmtrain.config.check import build
from llmtrain.config.schema import Rank
from llmtrain.errors import InitError, RunError
from llmtrain.rank import exchange
from llmtrain.rank.database import local
from llmtrain.rank.exchange import Written
from llmtrain.rank.store import Store
from llmtrain.run import directory

VOTES = "votes.sqlite"
LEASE = 1800.0  # seconds that a prompt waits for the vote of whom it was handed to


def open_votes(config: Rank, path: Path) -> Store:
    """The votes of the run in `path`; on a server each run has a schema of its own."""
    url = config.database or local(path / VOTES)
    return Store(url, config.raters_per_prompt, LEASE, space=space_of(path) if config.database else "")


def space_of(path: Path) -> str:
    """The schema of a run: its id, and where it is a stage of a pipeline or a job of a sweep, what tells it from the
    others. The same wherever the folder of all runs is moved."""
    parts = path.resolve().parts
    own = next((parts[n:] for n in range(len(parts)) if directory.ID.fullmatch(parts[n])), ("run", *parts))
    mark = "_" + hashlib.sha256("/".join(own[1:]).encode()).hexdigest()[:12] if own[1:] else ""
    return f"llmtrain_{own[0].replace('-', '_')}{mark}"


def export(run: Path, to: Path, pairs: bool) -> str:
    """Write the votes of a rank run (or of a pipeline's) to a new file; returns what to tell. Raises LlmtrainError."""
    _check_new(to)
    run = _ranking(run)
    config = build(directory.read_config(run))
    assert isinstance(config, Rank)
    if config.database is None and not (run / VOTES).is_file():
        raise RunError(f"{run}: nobody has opened its page yet; llmtrain resume {run}")
    with closing(open_votes(config, run)) as store:
        return _told((exchange.export_pairs if pairs else exchange.export_rankings)(store.votes(), to), to)


def _ranking(run: Path) -> Path:
    """The run of rank that is meant: this one, or the only one of a pipeline. Raises InitError."""
    command = directory.read_config(run).get("command")
    if command == "rank":
        return run
    if command != "pipeline":
        raise InitError(f"{run} is a run of `llmtrain {command}`; votes are in runs of `llmtrain rank`")
    found = sorted(file.parent for file in run.glob(f"rank*/{directory.CONFIG}"))
    if len(found) != 1:
        told = f"several rounds; name one: {', '.join(map(str, found))}" if found else "no votes (annotate=people has)"
        raise InitError(f"{run} is a pipeline with {told}")
    return found[0]


def import_file(file: str, to: Path, skip_bad: bool) -> str:
    """Turn the preferences of another tool into our rankings; returns what to tell. Raises LlmtrainError."""
    _check_new(to)
    return _told(exchange.import_rankings([file], to, skip_bad=skip_bad), to)


def _check_new(to: Path) -> None:
    if to.exists():
        raise InitError(f"--to {to}: is there already and is not overwritten; name a new file")
    if not to.parent.is_dir():
        raise InitError(f"--to {to}: its folder is not there; make it first")


def _told(written: Written, to: Path) -> str:
    left_out = "; ".join(f"{n} left out: {reason}" for reason, n in written.left_out.items())
    more = f" ({left_out})" if left_out else ""
    if not written.rows:
        raise RunError(f"--to {to}: not written, there is no vote that prefers an answer to another{more}")
    return f"{written.rows} rows in {to}{more}"
