"""eval: models side by side on the same held-out rows.

Of a model that writes: loss, answers with gold grades where graders exist, wins over a reference and the distance to
it, tasks of the lm-evaluation-harness. Of a reward model: its report card.
"""

import json
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rich.console import Console
from transformers import PreTrainedTokenizerBase

from llmtrain.config.schema import Eval
from llmtrain.data.records import Kind
from llmtrain.errors import Interrupted
from llmtrain.evaluate import harness, hhh, report, sidebyside
from llmtrain.loop.learner import Evaluation, Rate
from llmtrain.loop.stopping import numbers
from llmtrain.models import scalar
from llmtrain.rollout.function import Function
from llmtrain.rollout.judge import Judge, RewardJudge, TextJudge
from llmtrain.run import lineage
from llmtrain.run.session import Session, StopAsked
from llmtrain.stages import examination, judges, lineup, setup
from llmtrain.stages.contest import Contest, Measured
from llmtrain.stages.examination import Examined
from llmtrain.stages.lineup import JUDGE, REFERENCE, Entry
from llmtrain.stages.policy import text_of

log = logging.getLogger("llmtrain")

SHOWN = 12  # prompts (of each H) in answers.md
HEADLINES = ("gold/min", "eval/win_rate", "eval/accuracy", "eval/loss", "eval/length")  # the first that there is


def run(config: Eval, path: Path) -> dict:
    """Evaluate the models of the configuration; returns the result record."""
    mesh = setup.mesh_of(config)
    with setup.session_of(config, path, mesh) as session:
        entries = lineup.entries(config, path)
        named = lineup.judge_function(config)
        function = Function(named, JUDGE) if named else None  # before its digest: a file that is not there is told
        lineage.write(path, {role: entry.origin for role, entry in entries.items()}, judges.digests(named))
        try:
            return _compared(config, session, entries, function)
        except StopAsked as asked:
            raise Interrupted(asked.signal, f"start again with: {session.resume_command}") from None


def _compared(config: Eval, session: Session, entries: dict[str, Entry], function: Function | None) -> dict:
    kind = lineup.kind_of(config.data)
    own = [entry for role, entry in entries.items() if role not in lineup.SOURCES]
    writers = [entry for entry in own if not entry.scores]
    written = _written(config, session, kind, entries, writers, function)
    cards = {entry.label: examination.of(config, session, kind, entry) for entry in own if entry.scores}
    values = {label: measured.values for label, measured in written.items()}
    values |= {label: found.values for label, found in cards.items()}
    values = {entry.label: values[entry.label] for entry in own}  # in the order in which they were named
    rates = _graded(values)
    metrics = {f"{name}{key}": x for name, v in _prefixed(values).items() for key, x in numbers(v).items()}
    session.log(0, metrics)
    if session.mesh.first:
        _show(session.path, values, written, cards, entries.get(REFERENCE))
    first = next(iter(values.values()))
    headline = next((name for name in HEADLINES if name in first), "") if len(values) == 1 else ""
    return session.finish(
        "finished",
        f"{len(values)} model{'s' * (len(values) > 1)} evaluated",
        0,
        metrics,
        headline=headline,
        value=metrics.get(headline),
        models={entry.label: str(entry.origin.path) for entry in own},
        intervals=_intervals(values),
        probes_failed={label: found.failed for label, found in cards.items()},
        **({"hhh": rates} if rates else {}),
    )


def _written(
    config: Eval,
    session: Session,
    kind: Kind,
    entries: dict[str, Entry],
    writers: list[Entry],
    function: Function | None,
) -> dict[str, Measured]:
    """label -> what was measured, of the models that write; with their answers side by side in two files."""
    if not writers:
        return {}
    contest = Contest(config, session, kind, writers)
    if REFERENCE in entries:
        reader = contest.tokenizer(entries[REFERENCE])
        contest.against(entries[REFERENCE], _judge(config, session, function or entries.get(JUDGE), reader))
    found = {entry.label: contest.measure(entry) for entry in writers}
    answers = {label: one.answers for label, one in found.items() if one.answers}
    if answers:
        scores = {label: a.scores.tolist() for label, a in answers.items() if a.scores is not None}
        rows = sidebyside.rows(contest.shared, {label: a.texts for label, a in answers.items()}, scores)
        session.write_lines("answers.jsonl", rows)
        if session.mesh.first:
            (session.path / "answers.md").write_text(sidebyside.markdown(rows, SHOWN), encoding="utf-8")
    for entry in writers if config.tasks else ():
        found[entry.label].values.update(
            harness.run(
                entry.origin.path,
                config.tasks,
                device=session.mesh.device,
                dtype=session.mesh.dtype,
                seed=config.seed,
                poll=session.poll,
            )
        )
    return found


def _judge(
    config: Eval, session: Session, named: Function | Entry | None, tokenizer: PreTrainedTokenizerBase
) -> Judge | None:
    """Who says which answer wins."""
    if named is None:
        return None
    if isinstance(named, Function):
        log.info("judge: runs the code of %s", config.judged_by)
        return TextJudge(named, partial(text_of, tokenizer), session.poll_alone)
    model = scalar.load(named.origin.path, device=session.mesh.device, dtype=session.mesh.dtype)
    return RewardJudge(model.eval().requires_grad_(False), config.micro_tokens)


def _graded(values: Mapping[str, Evaluation]) -> dict[str, hhh.Rates]:
    """label -> shares of helpful, honest and harmless answers, of the models that have them."""
    out = {}
    for label, own in values.items():
        found = {h: rate for h in hhh.H if isinstance(rate := own.get(f"gold/{h}"), Rate)}
        if found:
            out[label] = hhh.rates(found)
    return out


def _prefixed(values: dict[str, Evaluation]) -> dict[str, Evaluation]:
    """The numbers of a lone model go by their own names, those of several behind their labels."""
    return {"" if len(values) == 1 else f"{label}/": own for label, own in values.items()}


def _intervals(values: dict[str, Evaluation]) -> dict[str, dict]:
    """metric -> n and 95 % interval, of all shares."""
    return {
        f"{name}{key}": {"n": rate.n, "interval": rate.interval(0.95)}
        for name, own in _prefixed(values).items()
        for key, rate in own.items()
        if isinstance(rate, Rate)
    }


def _show(
    path: Path,
    values: dict[str, Evaluation],
    written: dict[str, Measured],
    cards: dict[str, Examined],
    reference: Entry | None,
) -> None:
    """Tables on the screen, pictures and hhh.json in the run directory; the table of all models comes last."""
    console = Console()
    rates = _graded(values)
    if rates:
        hhh.save(rates, path)
        console.print(hhh.table(rates))
    if cards:
        report.picture({label: found.bins for label, found in cards.items()}, path / "reliability.png")
        record = {label: found.record for label, found in cards.items()}
        (path / "reliability.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
        shown = {label: found.values for label, found in cards.items()}
        console.print(report.table(shown, {label: found.failed for label, found in cards.items()}))
    writers = {label: measured.values for label, measured in written.items()}
    if any(name.startswith("task/") for own in writers.values() for name in own):
        console.print(sidebyside.tasks(writers))
    if writers:
        console.print(sidebyside.table(writers, reference.label if reference else None))
    console.print(f"everything: {path}", soft_wrap=True, markup=False)
