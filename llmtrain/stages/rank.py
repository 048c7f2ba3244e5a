"""rank: people rank answers best to worst in a page of this machine. No torch here.

<run>/sample          the answers, where models were named
<run>/votes.sqlite    every vote, as it came (or the database that `database` names)
<run>/rankings.jsonl  the votes as `reward` and `dpo` take them
"""

import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmtrain.config.schema import Rank
from llmtrain.errors import Interrupted, RunError, StoreError
from llmtrain.launch.group import Group
from llmtrain.rank import app, exchange
from llmtrain.rank.agreement import Agreement, agreement
from llmtrain.rank.outputs import Gathered, gather
from llmtrain.rank.store import Store
from llmtrain.run import directory, lineage
from llmtrain.run.lineage import Origin
from llmtrain.run.session import Session, StopAsked
from llmtrain.stages import inside, outputs, plan
from llmtrain.stages.preflight import RANKINGS
from llmtrain.stages.votes import open_votes
from llmtrain.web.assets import assets
from llmtrain.web.doors import Doors
from llmtrain.web.guard import guarded
from llmtrain.web.hosts import names
from llmtrain.web.limits import Limits
from llmtrain.web.serve import serve

log = logging.getLogger("llmtrain")

KEY = "page.key"  # blinds the answers and signs the cookies: with it, a reload and a restart change nothing
LINGER = 20.0  # seconds that the page stays when every vote is in: the last one can still be taken back
FILES = assets(Path(app.__file__).parent / "static")


def run(config: Rank, path: Path) -> dict:
    """Serve the page until every prompt has its votes or the host ends it; returns the result record."""
    with Session(path, config.command, Group(0, 1)) as session:
        try:
            asked = _asked(config, session)
            with closing(open_votes(config, path)) as store:
                store.add(asked.items)
                _serve(config, session, store)
                session.poll()
                return _finish(config, session, store)
        except StopAsked as asked_to:
            told = f"every vote is kept; go on with: {session.resume_command}"
            raise Interrupted(asked_to.signal, told) from None


def _asked(config: Rank, session: Session) -> Gathered:
    """What people are asked; where models were named, they answer first."""
    steps = plan.sampling(config)
    for step in steps:
        if not inside.finished(session.path / step.name):
            session.poll()
            inside.begin(session.path / step.name, step)
    files = [session.path / step.name / outputs.OUTPUTS for step in steps] or outputs.named(config).files
    parents, data = {}, {}
    for number, file in enumerate(files):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if not steps and (file.parent / directory.CONFIG).is_file():
            parents[f"source {number}"] = Origin(file, file.parent, digest)
        else:
            data[f"source {number}"] = digest
    lineage.write(session.path, parents, data)
    found = gather(files, config.answers, config.prompts, config.seed)
    left_out = "; ".join(f"{n} {what}" for what, n in found.left_out.items())
    log.info("%d prompts to rank%s", len(found.items), f" (left out: {left_out})" if left_out else "")
    return found


def _serve(config: Rank, session: Session, store: Store) -> None:
    doors = Doors.keyed(session.path / KEY, config.raters)
    ended: list[float] = []  # when the host ended the session
    page = FILES["rank.html"][1]
    routes = app.routes(store, doors, (session.path / KEY).read_bytes(), lambda: ended.append(time.monotonic()))
    guard = guarded(routes, doors=doors, hosts=names(config.page.host), limits=Limits(), files=FILES, page=page)

    def announce(address: str) -> None:
        Console().print(links(config, doors, address), soft_wrap=True)  # a link that is cut opens nothing

    session.poll()
    serve(
        guard,
        host=config.page.host,
        port=config.page.port,
        limits=Limits(),
        announce=announce,
        poll=_over(session, store, ended),
        allow_remote=config.page.allow_remote,
    )


def _over(session: Session, store: Store, ended: list[float]) -> Callable[[], bool]:
    """Whether the page can close: a signal, the host's word, or all votes in for LINGER seconds."""
    complete: list[float] = []
    shown = 0.0

    def over() -> bool:
        nonlocal shown
        if ended or session.stop.requested is not None:
            return True
        now = time.monotonic()
        if now - shown >= 1.0:  # cheap, but it reads the database
            shown = now
            complete[:] = [*complete, now][:1] if _complete(store) else []
        return bool(complete) and now - complete[0] >= LINGER

    return over


def _complete(store: Store) -> bool:
    """Whether every vote is in; not for all that is known while the database is out of reach, which the page tells."""
    try:
        return store.complete()
    except StoreError:
        return False


def links(config: Rank, doors: Doors, address: str) -> Text:
    """What the terminal shows: a link for everybody who ranks."""
    view = Text()
    view.append("Rank the answers in a browser. Each link opens the page once, on one device:\n", "bold")
    width = max(map(len, config.raters))
    for name in config.raters:
        view.append(f"  {name:<{width}}  ").append(f"{address}/#k={doors.link(name)}\n", "cyan")
    view.append("Every vote is kept as it comes. Ctrl-C stops, and `llmtrain resume` goes on.", "dim")
    return view


def _finish(config: Rank, session: Session, store: Store) -> dict:
    """Write the rankings and record the end."""
    votes = store.votes()
    written = exchange.export_rankings(votes, session.path / RANKINGS)
    if not written.rows:
        raise RunError(
            f"none of the {len(votes)} votes prefers an answer to another: nothing to learn from; go on with: "
            f"{session.resume_command}"
        )
    found = agreement(votes)
    measured = {"pairwise": found.pairwise, "tau": found.tau, "alpha": found.alpha}
    metrics = {f"agreement/{name}": value for name, value in measured.items() if value is not None}
    metrics |= {
        "prompts": float(len({vote.item.id for vote in votes})),
        "rankings": float(written.rows),
        "votes": float(len(votes)),
        "skipped": float(sum(vote.ballot.ranks is None for vote in votes)),
    }
    Console().print(table(found, {name: sum(v.rater == name for v in votes) for name in config.raters}))
    status, why = ("finished", "every prompt has its votes") if store.complete() else ("stopped", "the host ended it")
    return session.finish(status, why, int(metrics["prompts"]), metrics, headline="rankings", value=metrics["rankings"])


def table(found: Agreement, votes: dict[str, int]) -> Table:
    """Who ranked how much, and how far they agree."""
    share = lambda value: "" if value is None else f"{value:.2f}"  # noqa: E731
    view = Table(title="rankings", title_justify="left")
    for column in ("rater", "votes", "agrees with the others"):
        view.add_column(column, justify="left" if column == "rater" else "right")
    for name, n in votes.items():
        view.add_row(Text(name), str(n), share(found.raters.get(name)))
    if found.n_shared:
        view.caption = (
            f"{found.n_shared} prompts ranked by several: pairs alike {share(found.pairwise)}, Kendall's tau-b "
            f"{share(found.tau)}, Krippendorff's alpha {share(found.alpha)}"
        )
    return view
