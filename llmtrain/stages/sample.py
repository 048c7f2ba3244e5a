"""sample: the model writes several answers to each prompt; the simulated annotator may rank them.

What is ranked decides what the judge knows. So beside the model's own answers stand those of other policies, and
answers that won elsewhere ("foreign"): a judge that has seen the policy's own answers alone is fooled by the first new
one.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from llmtrain.config.schema import Annotator, Sample
from llmtrain.data.records import Kind
from llmtrain.errors import ConfigError, Interrupted, TrainingError
from llmtrain.evaluate import hhh
from llmtrain.launch.mesh import Mesh
from llmtrain.run import lineage
from llmtrain.run.lineage import Origin
from llmtrain.run.session import Session, StopAsked
from llmtrain.stages import inputs, setup
from llmtrain.stages.annotator import FOREIGN, Answer, among, rank, row
from llmtrain.stages.outputs import OUTPUTS
from llmtrain.stages.policy import complete, tell_memory, text_of

log = logging.getLogger("llmtrain")

STAGES = ("ppo", "dpo", "sft")  # whose newest run `latest` means
SELF = "self"  # in `policies`: the model of init itself, for another temperature


def run(config: Sample, path: Path) -> dict:
    """Write outputs.jsonl, and when they are ranked the two files of rankings; returns the result record."""
    mesh = setup.mesh_of(config)
    with setup.session_of(config, path, mesh) as session:
        origin = setup.origin_of(config, path, "init", config.init, STAGES)
        policies = [_policy(config, path, origin, i, entry) for i, entry in enumerate(config.policies)]
        tokenizer = setup.tokenizer_at(origin.path, chat=True)
        prompts = inputs.tokenised_prompts(inputs.records(config, config.data, Kind.prompt), tokenizer, config.data)
        if config.annotate is Annotator.simulated and not prompts.graded:
            raise ConfigError("annotate=simulated: these prompts have no gold graders; only data=microworld has")
        parents = {"init": origin} | {f"policy {i}": p.origin for i, p in enumerate(policies)}
        lineage.write(path, parents, {"prompts": prompts.digest})
        own = _Policy(origin, config.sampling.temperature, config.answers, "policy")
        try:
            answers = _answers(config, [own, *policies], prompts, mesh, session)
            if config.annotate is Annotator.none and config.foreign:
                answers = among(prompts.records, answers, config.foreign, config.seed)
            metrics = _record(config, session, prompts, answers)
            if config.annotate is Annotator.simulated:
                metrics |= _annotate(config, session, prompts, answers)
                if config.held_out:
                    held = inputs.held_out(config.data, "validation", config.held_out, tokenizer)
                    clean = rank(held.records, _answers(config, [own], held, mesh, session), 0, 0.0, config.seed)
                    session.write_lines(inputs.CLEAN_RANKINGS, [row(r) for r in clean])
        except StopAsked as asked:
            raise Interrupted(asked.signal, f"nothing was kept; start again with: {session.resume_command}") from None
        return session.finish("finished", f"{len(prompts)} prompts answered", len(prompts), metrics, headline="answers")


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
    other = setup.origin_of(config, path, f"policy {number}", where, STAGES)
    return _Policy(other, temperature, max(1, config.answers // 2), entry)


def _answers(
    config: Sample, policies: Sequence[_Policy], prompts: inputs.Prompts, mesh: Mesh, session: Session
) -> list[list[Answer]]:
    """Each prompt's answers, those of the first policy first."""
    by_policy = [_answers_of(config, policy, prompts, mesh, session) for policy in policies]
    return [[answer for part in parts for answer in part] for parts in zip(*by_policy, strict=True)]


def _answers_of(
    config: Sample, policy: _Policy, prompts: inputs.Prompts, mesh: Mesh, session: Session
) -> list[list[Answer]]:
    tokenizer = setup.tokenizer_at(policy.origin.path, chat=True)
    model = setup.model_at(policy.origin.path, mesh).eval()
    sampling = replace(config.sampling, temperature=policy.temperature)
    asked = [ids for ids in prompts.ids for _ in range(policy.answers)]
    tell_memory(model, sampling, len(asked), max(map(len, asked)) + sampling.max_new_tokens)
    made = complete(model, tokenizer, asked, sampling, config.seed, policy.name, session=session)
    flat = [Answer(text_of(tokenizer, c).strip(), c.ended, policy.name) for c in made]
    return [flat[i : i + policy.answers] for i in range(0, len(flat), policy.answers)]


def _record(config: Sample, session: Session, prompts: inputs.Prompts, answers: list[list[Answer]]) -> dict[str, float]:
    rows = [
        {"prompt": [asdict(m) for m in p.messages], "answers": [asdict(a) for a in given]}
        for p, given in zip(prompts.records, answers, strict=True)
    ]
    session.write_lines(OUTPUTS, rows)
    everything = [a for given in answers for a in given if a.source != FOREIGN]
    ended = sum(a.ended for a in everything) / len(everything)
    return {"prompts": len(rows), "answers": len(everything), "ended": ended}


def _annotate(
    config: Sample, session: Session, prompts: inputs.Prompts, answers: list[list[Answer]]
) -> dict[str, float]:
    rankings = rank(prompts.records, answers, config.foreign, config.noise, config.seed)
    if not rankings:
        ended = sum(a.ended for given in answers for a in given)
        raise TrainingError(
            f"none of the {len(prompts)} prompts could be ranked: {ended} answers ended within sampling.max_new_tokens="
            f"{config.sampling.max_new_tokens}, and those of a prompt were all alike; train the model at init longer"
        )
    session.write_lines(inputs.RANKINGS, [row(r) for r in rankings])
    log.info("SIMULATED annotator: ranked %d of %d prompts, noise %g", len(rankings), len(prompts), config.noise)
    own = [(p, (a.text, a.ended)) for p, g in zip(prompts.records, answers, strict=True) for a in g[: config.answers]]
    passed = hhh.gold([p for p, _ in own], [a for _, a in own])
    return {"rankings": len(rankings)} | {name: rate.value for name, rate in passed.items()}
