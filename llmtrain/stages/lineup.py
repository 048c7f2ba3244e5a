"""Who takes part in an eval: the models with their labels, the reference, the judge; and what of them does not fit.

No torch at the top: preflight.py asks here, and an error should come before seconds of imports where it can.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmtrain.config.check import build
from llmtrain.config.choices import DataName
from llmtrain.config.ppo import FUNCTION
from llmtrain.config.schema import Chat, Data, Eval, Reward
from llmtrain.data import sources
from llmtrain.data.records import Kind
from llmtrain.errors import DataError, InitError, LlmtrainError
from llmtrain.run import directory, lineage, manifest
from llmtrain.run.lineage import Origin

STAGES = ("ppo", "dpo", "sft", "pretrain")  # of which `latest` takes the newest
SINGLE, REFERENCE, JUDGE = "init", "reference", "judged_by"
SOURCES = {REFERENCE: ("sft",), JUDGE: ("reward",)}
# What the rows of files are taken for: the first of these that their columns can give.
KINDS = (Kind.chat, Kind.ranking, Kind.prompt, Kind.text)


@dataclass(frozen=True)
class Entry:
    """A model of an eval. role: the key that names it. scores: a reward model, which gives numbers and no text."""

    role: str
    label: str
    origin: Origin
    scores: bool


def named(config: Eval) -> dict[str, str]:
    """Key -> what it names."""
    models = config.models if config.init is None else [config.init]
    roles = [f"models[{n}]" for n in range(len(models))] if config.init is None else [SINGLE]
    others = {REFERENCE: config.reference, JUDGE: None if judge_function(config) else config.judged_by}
    return dict(zip(roles, models, strict=True)) | {role: init for role, init in others.items() if init is not None}


def talking(config: Chat) -> dict[str, str]:
    """Key -> what it names, of a chat."""
    judge = {} if config.judged_by is None else {JUDGE: config.judged_by}
    return {f"models[{n}]": model for n, model in enumerate(config.models)} | judge


def judge_function(config: Eval) -> str | None:
    """The judge where it is FILE.py:NAME, a function of the user's, and no reward model."""
    return config.judged_by if config.judged_by and FUNCTION.fullmatch(config.judged_by) else None


def stages_of(role: str, init: str) -> tuple[str, ...]:
    """The commands whose runs a key takes; a path among the models may also be a reward run."""
    return SOURCES.get(role) or (STAGES if init == directory.LATEST else (*STAGES, "reward"))


def entries(config: Eval, path: Path) -> dict[str, Entry]:
    """Role -> model. A run that goes on keeps what it began with. Raises InitError."""
    found = {}
    for role, init in named(config).items():
        found[role] = lineage.recorded(path, role) or lineage.resolve_model(
            init, root=config.run.root, name=config.run.name, stages=stages_of(role, init)
        )
    return labelled(named(config), found)


def labelled(given: dict[str, str], found: dict[str, Origin]) -> dict[str, Entry]:
    """The models with short names that differ: their command, where that is not enough the name of their run.

    given: what each key names (`named`).
    """
    short = {role: _name(given[role], origin, by_run=False) for role, origin in found.items()}
    again = _more_than_once(short)
    names = {
        role: _name(given[role], origin, by_run=True) if short[role] in again else short[role]
        for role, origin in found.items()
    }
    again, seen, out = _more_than_once(names), Counter[str](), {}
    for role, origin in found.items():
        name = names[role]
        seen[name] += 1
        label = f"{name}-{seen[name]}" if name in again and role not in SOURCES else name
        out[role] = Entry(role, label, origin, _scores(origin.path))
    return out


def _more_than_once(names: dict[str, str]) -> set[str]:
    """The names that several of the models have; the reference and the judge may be one of the models."""
    often = Counter(name for role, name in names.items() if role not in SOURCES)
    return {name for name, n in often.items() if n > 1}


def _name(init: str, origin: Origin, *, by_run: bool) -> str:
    """With the step where a checkpoint was named."""
    if origin.run is None:
        return re.sub(r"[^\w.-]+", "-", origin.path.name)
    recorded = directory.read_config(origin.run)
    step = manifest.STEP.fullmatch(Path(init).name)
    name = str(recorded["run"]["name"] if by_run else recorded["command"])
    return name + (f"@{int(step[1])}" if step else "")


def _scores(path: Path) -> bool:
    """Whether a model directory holds a classifier, which reward models are stored as."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return any("SequenceClassification" in str(name) for name in config.get("architectures") or ())
    except (OSError, ValueError, AttributeError) as error:
        raise InitError(f"{path / 'config.json'}: cannot be read ({error}); give another model") from None


def kind_of(data: Data) -> Kind:
    """What the rows of an eval are: demonstrations, rankings, prompts or text."""
    if data.name is DataName.microworld:
        return Kind.chat
    if data.text_column is not None:
        return Kind.text
    return sources.first_kind(data.path, KINDS, data.split) or Kind.chat


def examined(entry: Entry) -> Reward:
    """The configuration of the reward run behind a judge, whose held-out rankings it is examined on. Raises InitError.

    The rankings must be those that it learnt from: `latest` may mean others by now.
    """
    if entry.origin.run is None:
        raise InitError(
            f"{entry.origin.path} is no run of `llmtrain reward`; give rankings to examine it on: data=FILE"
        )
    try:
        config = build(directory.read_config(entry.origin.run))
    except LlmtrainError as error:
        raise InitError(f"the data of {entry.origin.run}: {error}; give rankings with data=FILE") from None
    assert isinstance(config, Reward)
    return config


def faults(config: Eval, found: dict[str, Origin]) -> Iterator[str]:
    """What models that are there lack, or do not share, as lines that begin with the key."""
    try:
        lineup = labelled(named(config), found)
    except LlmtrainError as error:
        yield f"models: {error}"
        return
    own = [entry for role, entry in lineup.items() if role not in SOURCES]
    writers = [entry for entry in own if not entry.scores]
    kind = kind_of(config.data)
    yield from _kinds(config, lineup, kind, writers)
    yield from _twice(own)
    yield from _judges([entry for entry in own if entry.scores], config, kind)
    yield from _readers(config, lineup, writers, kind)
    yield from _tasks(config.tasks)


def talk_faults(config: Chat, found: dict[str, Origin]) -> Iterator[str]:
    """The same of a chat, whose models need no tokenizer in common."""
    from llmtrain.stages import setup

    try:
        lineup = labelled(talking(config), found)
    except LlmtrainError as error:
        yield f"models: {error}"
        return
    writers = [entry for role, entry in lineup.items() if role != JUDGE]
    for entry in writers:
        if entry.scores:
            yield f"{entry.role}: {entry.origin.path} is a reward model, which writes no answers; give it as {JUDGE}="
    if JUDGE in lineup and not lineup[JUDGE].scores:
        yield f"judged_by: {config.judged_by} is no reward model; give a run of `llmtrain reward`"
    yield from _twice(writers)
    yield from _sayable(config)
    for role, entry in lineup.items():
        try:
            setup.tokenizer_at(entry.origin.path, chat=role == JUDGE)
        except LlmtrainError as error:
            yield f"{role}: {error}"


def _sayable(config: Chat) -> Iterator[str]:
    from llmtrain.chat.conversation import spoken
    from llmtrain.chat.panel import heat

    try:
        heat(config.sampling.temperature)
    except DataError as error:
        yield f"sampling.temperature: {error}"
    try:
        spoken(config.system or "none", "system")
    except DataError as error:
        yield f"system: {error}"


def _kinds(config: Eval, lineup: dict[str, Entry], kind: Kind, writers: list[Entry]) -> Iterator[str]:
    """Options that do nothing for these models and rows, and models in the wrong place."""
    if REFERENCE in lineup and lineup[REFERENCE].scores:
        yield f"reference: {config.reference} is a reward model, which writes no answers; give a run of `llmtrain sft`"
    if JUDGE in lineup and not lineup[JUDGE].scores:
        yield f"judged_by: {config.judged_by} is no reward model; give a run of `llmtrain reward`"
    for key, given in (("reference", config.reference), ("tasks", config.tasks)):
        if given and not writers:
            yield f"{key}: does nothing for reward models alone; drop it, or name a model that writes"
    if config.reference and kind is Kind.text:
        yield "reference: text has no prompts to answer; give prompts or conversations with data=FILE, or drop it"


def _twice(own: list[Entry]) -> Iterator[str]:
    """The same weights under two names would stand side by side with themselves."""
    first: dict[str, str] = {}
    for entry in own:
        before = first.setdefault(entry.origin.digest, entry.role)
        if before != entry.role:
            yield f"{entry.role}: {entry.origin.path} is the model of {before} again; drop one of them"


def _judges(judges: list[Entry], config: Eval, kind: Kind) -> Iterator[str]:
    """Reward models need rankings: those in data, else those of their own run."""
    if kind is Kind.ranking:
        return
    for judge in judges:
        if config.data.name is not DataName.microworld:
            yield f"{judge.role}: a reward model needs rankings, which {', '.join(config.data.path)} holds none of"
            continue
        try:
            examined(judge)
        except InitError as error:
            yield f"{judge.role}: {error}"


def _readers(config: Eval, lineup: dict[str, Entry], writers: list[Entry], kind: Kind) -> Iterator[str]:
    """Tokenizers and chat templates. Reading them takes seconds, which the run would take next anyway."""
    from llmtrain.models import causal
    from llmtrain.stages import setup
    from llmtrain.text import tokenizers

    digests: dict[str, str] = {}
    for role, entry in lineup.items():
        try:
            chat = kind is not Kind.text or entry.scores
            digests[role] = tokenizers.digest(setup.tokenizer_at(entry.origin.path, chat=chat))
            known = causal.read_config(entry.origin.path).get_text_config().to_dict().get("max_position_embeddings")
        except LlmtrainError as error:
            yield f"{role}: {error}"
            continue
        yield from _context(config, role, entry, kind, known)
    for role, what in ((REFERENCE, "log-probabilities of its tokens"), (JUDGE, "scores of its tokens")):
        others = [w.role for w in writers if {role, w.role} <= digests.keys() and digests[role] != digests[w.role]]
        if others:
            yield (
                f"{role}: {lineup[role].origin.path} reads other tokens than {', '.join(others)}, so there are no "
                f"{what}; give one of the same tokenizer, or drop {role}"
            )


def _context(config: Eval, role: str, entry: Entry, kind: Kind, known: int | None) -> Iterator[str]:
    """Rows that a model has no positions for."""
    answers = 0 if kind is Kind.text or entry.scores else config.sampling.max_new_tokens
    wanted = config.data.max_length + answers
    own = entry.scores and kind is not Kind.ranking and role != JUDGE  # examined on rows of its own run
    if known is not None and wanted > known and not own:
        more = " + sampling.max_new_tokens" if answers else ""
        yield f"data.max_length{more}: {wanted} tokens, but {role} ({entry.label}) knows {known} positions; lower it"


def _tasks(tasks: list[str]) -> Iterator[str]:
    if tasks:
        from llmtrain.evaluate import harness

        yield from (f"tasks: {fault}" for fault in harness.faults(tasks))
