"""sample: the model writes several answers to each prompt; the simulated annotator may rank them.

What is ranked decides what the judge knows. So beside the model's own answers stand those of other policies, and
answers that won elsewhere ("foreign"): a judge that has seen the policy's own answers alone is fooled by the first new
one.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from llmtrain.config.schema import Annotator, Sample
from llmtrain.data.microworld.rows import annotate, grade
from llmtrain.data.records import Kind, Prompt, Ranking
from llmtrain.errors import ConfigError, Interrupted
from llmtrain.evaluate import hhh
from llmtrain.launch.mesh import Mesh
from llmtrain.run import lineage
from llmtrain.run.lineage import Origin
from llmtrain.run.seeding import derive
from llmtrain.run.session import Session, StopAsked
from llmtrain.stages import inputs, setup
from llmtrain.stages.policy import complete

log = logging.getLogger("llmtrain")

OUTPUTS = "outputs.jsonl"
USABLE = 2  # gold level from which an answer is good enough to stand as a foreign one
SELF = "self"  # in `policies`: the model of init itself, for another temperature


@dataclass(frozen=True)
class Answer:
    text: str
    ended: bool
    source: str  # which policy wrote it


def run(config: Sample, path: Path) -> dict:
    """Write outputs.jsonl, and rankings.jsonl when they are ranked; returns the result record."""
    mesh = setup.mesh_of(config)
    with setup.session_of(config, path, mesh) as session:
        origin = setup.origin_of(config, path, "init", config.init, ("ppo", "sft"))
        policies = [_policy(config, path, origin, i, entry) for i, entry in enumerate(config.policies)]
        tokenizer = setup.tokenizer_at(origin.path, chat=True)
        prompts = _prompts(config, tokenizer)
        if config.annotate is Annotator.simulated and not prompts.graded:
            raise ConfigError("annotate=simulated: these prompts have no gold graders; only data=microworld has")
        parents = {"init": origin} | {f"policy {i}": p.origin for i, p in enumerate(policies)}
        lineage.write(path, parents, {"prompts": prompts.digest})
        try:
            own = _Policy(origin, config.sampling.temperature, config.answers, "policy")
            by_policy = [_answers(config, policy, prompts, mesh, session) for policy in (own, *policies)]
        except StopAsked as asked:
            raise Interrupted(asked.signal, f"nothing was kept; start again with: {session.resume_command}") from None
        answers = [[answer for part in parts for answer in part] for parts in zip(*by_policy, strict=True)]
        return _record(config, session, prompts, answers)


@dataclass(frozen=True)
class _Policy:
    origin: Origin
    temperature: float
    answers: int
    name: str


def _policy(config: Sample, path: Path, origin: Origin, number: int, entry: str) -> _Policy:
    """`RUN`, `RUN@TEMPERATURE` or `self@TEMPERATURE`: another policy whose answers are ranked too."""
    where, at, heat = entry.partition("@")
    try:
        temperature = float(heat) if at else config.sampling.temperature
    except ValueError:
        raise ConfigError(f"policies: {entry}: the part behind @ is a temperature, such as {SELF}@1.5") from None
    if where == SELF:
        return _Policy(origin, temperature, max(1, config.answers // 2), entry)
    other = setup.origin_of(config, path, f"policy {number}", where, ("ppo", "sft"))
    return _Policy(other, temperature, max(1, config.answers // 2), entry)


def _prompts(config: Sample, tokenizer: PreTrainedTokenizerBase) -> inputs.Prompts:
    source = inputs.records(config, config.data, Kind.prompt)
    return inputs.tokenised_prompts(source, tokenizer, config.data)


def _answers(
    config: Sample, policy: _Policy, prompts: inputs.Prompts, mesh: Mesh, session: Session
) -> list[list[Answer]]:
    """Each prompt's answers of one policy."""
    tokenizer = setup.tokenizer_at(policy.origin.path, chat=True)
    model = setup.model_at(policy.origin.path, mesh).eval()
    sampling = replace(config.sampling, temperature=policy.temperature)
    asked = [ids for ids in prompts.ids for _ in range(policy.answers)]
    made = complete(model, tokenizer, asked, sampling, config.seed, policy.name, session=session)
    flat = [Answer(tokenizer.decode(c.ids, skip_special_tokens=True), c.ended, policy.name) for c in made]
    return [flat[i : i + policy.answers] for i in range(0, len(flat), policy.answers)]


def _record(config: Sample, session: Session, prompts: inputs.Prompts, answers: list[list[Answer]]) -> dict:
    rows = [
        {"prompt": [asdict(m) for m in p.messages], "answers": [asdict(a) for a in given]}
        for p, given in zip(prompts.records, answers, strict=True)
    ]
    session.write_lines(OUTPUTS, rows)
    metrics = {"prompts": float(len(rows)), "answers": float(sum(map(len, answers)))}
    metrics["ended"] = sum(a.ended for given in answers for a in given) / metrics["answers"]
    if config.annotate is Annotator.simulated:
        own = [[(a.text, a.ended) for a in given[: config.answers]] for given in answers]
        passed = hhh.gold(
            [p for p, g in zip(prompts.records, own, strict=True) for _ in g], [a for g in own for a in g]
        )
        metrics |= {name: rate.value for name, rate in passed.items()}
        rankings = rank(config, prompts.records, answers)
        session.write_lines(inputs.RANKINGS, [_row(r) for r in rankings])
        metrics["rankings"] = float(len(rankings))
        log.info("SIMULATED annotator: ranked %d of %d prompts, noise %g", len(rankings), len(rows), config.noise)
    return session.finish("finished", f"{len(rows)} prompts answered", len(rows), metrics, headline="answers")


def rank(config: Sample, prompts: Sequence[Prompt], answers: Sequence[Sequence[Answer]]) -> list[Ranking]:
    """Simulated rankings of the answers to each prompt, with `foreign` good answers to other prompts among them.

    Half of the foreign answers come from prompts of the other H's, the rest from the same H.
    """
    rng = random.Random(derive(config.seed, "rank"))
    good: dict[str, list[tuple[str, bool]]] = {h: [] for h in hhh.H}
    for prompt, given in zip(prompts, answers, strict=True):
        good[prompt.meta["h"]] += [(a.text, True) for a in given if a.ended and grade(prompt, a.text, True) >= USABLE]
    rankings = []
    for prompt, given in zip(prompts, answers, strict=True):
        own = prompt.meta["h"]
        others = [h for h in hhh.H if h != own and good[h]]
        foreign = [others[i % len(others)] if i % 4 < 2 and others else own for i in range(config.foreign)]
        pool = [(a.text, a.ended) for a in given if a.text.strip()] + [rng.choice(good[h]) for h in foreign if good[h]]
        ranking = annotate(prompt, pool, config.noise, rng)
        if ranking is not None:
            rankings.append(ranking)
    return rankings


def _row(ranking: Ranking) -> dict:
    return {
        "prompt": [asdict(m) for m in ranking.prompt],
        "responses": list(ranking.responses),
        "ranks": list(ranking.ranks),
        "annotator": ranking.annotator,
    }
