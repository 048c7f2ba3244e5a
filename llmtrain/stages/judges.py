"""Who scores the answers of ppo, opened from its configuration; and the critic, which begins where the judge stands."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmtrain.config.choices import AdvantageName, CriticName, JudgeName
from llmtrain.config.schema import PPO
from llmtrain.data.records import Prompt
from llmtrain.errors import InitError
from llmtrain.launch.mesh import Mesh
from llmtrain.models import scalar
from llmtrain.models.scalar import Head, ScalarModel
from llmtrain.rollout.function import split
from llmtrain.rollout.judge import Judge, RewardJudge, TextJudge
from llmtrain.run import manifest
from llmtrain.run.lineage import Origin
from llmtrain.run.session import Session
from llmtrain.stages import preflight, setup
from llmtrain.stages.policy import text_of

log = logging.getLogger("llmtrain")


@dataclass(frozen=True)
class Opened:
    """A judge, and what lineage.json records of it: the reward model, or the digest of the user's file."""

    judge: Judge
    parents: dict[str, Origin]
    digests: dict[str, str]


def opened(config: PPO, session: Session, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> Opened:
    """The judge of a run on these prompts. Raises InitError, ConfigError, and what a rehearsal finds."""
    own = config.judge
    if own.name is not JudgeName.reward:
        function = preflight.text_function(own)
        preflight.rehearse(function, prompts if own.name is JudgeName.rule else prompts[:1])
        if own.path is not None:
            log.info("judge: runs the code of %s", own.path)
        return Opened(TextJudge(function, partial(text_of, tokenizer), session.poll_alone), {}, digests(own.path))
    assert config.judge.init is not None  # config/ppo.py
    origin = setup.origin_of(config, session.path, "judge", config.judge.init, ("reward",))
    check_probes(origin, bool(own.require_probes))
    setup.check_same_tokenizer(tokenizer, origin.path)
    model = scalar.load(origin.path, device=session.mesh.device, dtype=session.mesh.dtype)
    return Opened(RewardJudge(model.eval().requires_grad_(False), config.batch.micro_tokens), {"judge": origin}, {})


def digests(path: str | None) -> dict[str, str]:
    """What lineage.json records of the user's function FILE.py:NAME: the sha256 of its file."""
    return {} if path is None else {"judge": manifest.file_digest(split(path)[0])}


def critic(config: PPO, found: Opened, model: PreTrainedModel, mesh: Mesh) -> ScalarModel | Head | None:
    """A copy of the reward model, else a head of zeros on a copy of the policy's trunk (correctness C10).

    On the trunk itself where it is shared; None without GAE.
    """
    if config.advantage.name is not AdvantageName.gae:
        return None
    if config.advantage.critic is CriticName.shared:
        return Head(model.config.get_text_config().hidden_size).to(mesh.device)
    if "judge" in found.parents:
        return scalar.load(found.parents["judge"].path, device=mesh.device, dtype=mesh.dtype)
    return scalar.from_causal(model, seed=None).to(mesh.device)


def check_probes(judge: Origin, required: bool) -> None:
    """Refuse a reward model that failed its probes: PPO finds such a hole within a few steps. Raises InitError."""
    record = judge.run / "probes.json" if judge.run else None
    if not required or record is None or not record.is_file():
        return
    failed = json.loads(record.read_text(encoding="utf-8"))["failed"]
    if failed:
        raise InitError(
            f"judge.init={judge.run}: the reward model failed {len(failed)} probes ({', '.join(failed[:4])}); rank "
            "more kinds of answers (sample.foreign, sample.policies), train it again, or set judge.require_probes=false"
        )
