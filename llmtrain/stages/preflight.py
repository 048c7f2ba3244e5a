"""What a run needs from its surroundings, looked for before it has a directory: machine, trackers, models, rows.

Cheap beside the run: of files the first usable row is read. No torch here, unless a GPU is asked for by name.
"""

import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmtrain.config.choices import DataName, Device, JudgeName
from llmtrain.config.ppo import Judge
from llmtrain.config.schema import Common, Data, Rank
from llmtrain.data.formats import Record
from llmtrain.data.microworld import rows as microworld
from llmtrain.data.microworld.world import World
from llmtrain.data.records import Kind, Prompt
from llmtrain.data.sources import HUB, read
from llmtrain.errors import ConfigError, LlmtrainError
from llmtrain.rank.outputs import gather
from llmtrain.rollout.function import Function
from llmtrain.rollout.rules import Score, ask, rule
from llmtrain.run import durable, lineage
from llmtrain.run.directory import CONFIG
from llmtrain.run.trackers import TRACKERS
from llmtrain.stages import lineup, outputs
from llmtrain.stages.plan import Step

RANKINGS = "rankings.jsonl"  # what `sample` and `rank` leave for `reward` and `dpo`
RANKED = ("rank", "sample")  # whose newest run `latest` means
KINDS = {
    "pretrain": Kind.text,
    "sft": Kind.chat,
    "sample": Kind.prompt,
    "reward": Kind.ranking,
    "ppo": Kind.prompt,
    "dpo": Kind.ranking,
}
# Of which commands' runs `latest` means the newest, by command and key.
LATEST = {
    ("pretrain", "init"): ("pretrain",),
    ("sft", "init"): ("pretrain",),
    ("sample", "init"): ("ppo", "dpo", "sft"),
    ("reward", "init"): ("sft",),
    ("ppo", "init"): ("sft",),
    ("ppo", "reference"): ("sft",),
    ("ppo", "judge.init"): ("reward",),
    ("dpo", "init"): ("sft",),
    ("data", "init"): ("pretrain",),
}


MODELS = re.compile(r"^sample\.(init|policies):")  # as the sampling of rank calls what its user named as sources


def check(config: Common, steps: Sequence[Step], made: Path) -> None:
    """Raises ConfigError with all that the stages `steps` of a command will not find.

    made: the folder of the run, in which earlier stages of a pipeline will leave what later ones read.
    """
    faults = [*_machine(config), *_trackers(config)]
    for step in steps:
        prefix = "" if step.command == config.command else f"{step.command}."
        found = [prefix + fault for fault in _surroundings(step.config, made)]
        faults += [MODELS.sub("sources:", fault) for fault in found] if config.command == "rank" else found
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))


def _surroundings(config: Any, made: Path) -> Iterator[str]:
    if config.command == "rank":
        yield from _answers(config, made)
        yield from _database(config)
        yield from _page(config)
        return
    yield from _models(config, made)
    if config.command == "chat":
        if config.web:
            yield from _page(config)
        return
    yield from _rows(config, made)
    if config.command == "ppo" and config.judge.name is not JudgeName.reward:
        yield from _text_judge(config, partial(text_function, config.judge), made)
    if config.command == "eval" and (path := lineup.judge_function(config)):
        yield from _text_judge(config, partial(Function, path, lineup.JUDGE), made)


def _answers(config: Rank, made: Path) -> Iterator[str]:
    """What is wrong with the answers that people are to rank, where they are there already."""
    if any(made in Path(source).parents for source in config.sources):
        return
    try:
        files = outputs.named(config).files
        if files:
            gather(files, config.answers, config.prompts, config.seed)
    except LlmtrainError as error:
        yield str(error)


def _database(config: Rank) -> Iterator[str]:
    if config.database is None:
        return
    from llmtrain.rank.database import Database  # the others need no database

    try:
        Database.reach(config.database)
    except LlmtrainError as error:
        yield f"database: {error}"


def _page(config: Any) -> Iterator[str]:
    from llmtrain.web.serve import listen  # the others need no server

    try:
        listen(config.page.host, config.page.port)
    except LlmtrainError as error:
        yield f"page: {error}"


def make_root(root: str, command: str) -> None:
    """Raises ConfigError where no run can lie. Only trying tells: /proc looks writable and is not."""
    folder = Path(root, command)
    try:
        folder.mkdir(parents=True, exist_ok=True)  # as Hydra does next
        reason = "" if os.access(folder, os.W_OK | os.X_OK) else "Permission denied"
    except OSError as error:
        reason = str(error.strerror)
    if reason:
        raise ConfigError(f"run.root: {root} cannot be written ({reason}); choose another")


def _machine(config: Common) -> Iterator[str]:
    if config.launch.device is Device.cuda:
        import torch

        if not torch.cuda.is_available():
            yield "launch.device: torch sees no GPU; set it to cpu or auto"


def _trackers(config: Common) -> Iterator[str]:
    for name in TRACKERS:
        if getattr(config.log, name) and find_spec(name) is None:
            yield f"log.{name}: {name} is not installed; pip install 'llmtrain[{name}]', or set it to false"


def _models(config: Any, made: Path) -> Iterator[str]:
    if config.command in ("eval", "chat"):
        named = lineup.named(config) if config.command == "eval" else lineup.talking(config)
        wanted = [(role, init, lineup.stages_of(role, init)) for role, init in named.items()]
    else:
        named = {"init": config.init}
        if config.command == "ppo":
            named |= {"reference": config.reference, "judge.init": config.judge.init}  # null: no reward model
        wanted = [(key, init, LATEST[config.command, key]) for key, init in named.items() if init is not None]
    found: dict[str, lineage.Origin] = {}
    if config.command == "sample":
        others = [entry.partition("@")[0] for entry in config.policies]
        wanted += [("policies", init, LATEST["sample", "init"]) for init in others if init != "self"]
    for key, init, stages in wanted:
        if made not in Path(init).parents:
            if "/" in init and not durable.exists(Path(init).expanduser()):
                know_the_network()
            try:
                found[key] = lineage.resolve_model(init, root=config.run.root, name=config.run.name, stages=stages)
            except LlmtrainError as error:
                yield f"{key}: {str(error).removeprefix('init=')}"
    if len(found) == len(wanted):
        if config.command == "eval":
            yield from lineup.faults(config, found)
        elif config.command == "chat":
            yield from lineup.talk_faults(config, found)


def _rows(config: Any, made: Path) -> Iterator[str]:
    if config.data.name is DataName.microworld:
        return
    if config.command == "eval":
        try:
            kind = lineup.kind_of(config.data)
        except LlmtrainError as error:
            yield f"data.path: {error}"
            return
    else:
        kind = KINDS[config.stage.value if config.command == "data" else config.command]
    for path in config.data.path:
        if made not in Path(path).parents:
            found = _first(config, path, kind)
            if isinstance(found, LlmtrainError):
                yield f"data.path: {found}"


def _first(config: Any, path: str, kind: Kind) -> Record | LlmtrainError:
    """The first usable row, or what is wrong with it."""
    return _read(config.run.root, config.run.name, path, kind, config.data.split, config.data.text_column)


@cache  # the jobs of a sweep share theirs
def _read(root: str, name: str, path: str, kind: Kind, split: str, text_column: str | None) -> Record | LlmtrainError:
    if path.startswith(HUB):
        know_the_network()
    log = logging.getLogger("llmtrain.data.sources")
    log.disabled, before = True, log.disabled  # the stage tells of every row that it leaves out
    try:
        source = read([where(path, root, name)], kind, split=split, text_column=text_column, on_bad_row="skip", limit=1)
        return next(iter(source.records))
    except LlmtrainError as error:
        return error
    finally:
        log.disabled = before


def _text_judge(config: Any, opened: Callable[[], Score], made: Path) -> Iterator[str]:
    """What is wrong with a rule or a function of the user's, asked about a first prompt."""
    data: Data = config.data
    prompts: list[Any] = []
    if data.name is DataName.microworld:
        prompts = microworld.prompts(World(data.world or 0), "train", 3, 0)
    elif made not in Path(data.path[0]).parents:
        prompts = [_first(config, data.path[0], Kind.prompt)]
    try:
        rehearse(opened(), [p for p in prompts[:1] if isinstance(p, Prompt)])
    except LlmtrainError as error:
        yield str(error)


def text_function(judge: Judge) -> Score:
    """The rule or the user's function of a judge that is no reward model. Raises ConfigError."""
    if judge.path is not None:
        return Function(judge.path, "judge.path")
    assert judge.rule is not None  # config/ppo.py: one of the two is set
    return rule(judge.rule.value, judge.pattern)


def rehearse(function: Score, prompts: Sequence[Prompt]) -> None:
    """Ask about the emptiest of answers and another one: a policy writes either. Raises what the judge raises."""
    for prompt in prompts:
        for answer in ("", prompt.messages[-1].content):
            ask(function, prompt, answer)


@cache
def know_the_network() -> None:
    """Where the hub is out of reach its client, unless told so, tries for half a minute; told, it asks its cache."""
    try:
        urllib.request.urlopen(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=5).close()
    except urllib.error.HTTPError:  # an answer
        pass
    except (OSError, ValueError):
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the client is imported


def where(path: str, root: str, name: str) -> str:
    """`latest` and run directories stand for the rankings that a `rank` or `sample` run left."""
    if path == "latest" or durable.exists(Path(path) / CONFIG):
        return str(lineage.resolve_file(path, root=root, name=name, stages=RANKED, file=RANKINGS))
    return path
