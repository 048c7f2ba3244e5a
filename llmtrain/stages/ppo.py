"""ppo: improve the model on the judge's score, until it is good enough or the iterations or the KL budget run out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmtrain.config.schema import PPO
from llmtrain.data import overlap
from llmtrain.data.order import Rows, epoch_order
from llmtrain.data.pack import Packed, Targets, after, by_tokens, pack
from llmtrain.errors import InitError, TrainingError
from llmtrain.loop.fit import fit
from llmtrain.loop.learner import Evaluation, Loss
from llmtrain.models import causal, scalar
from llmtrain.models.scalar import ScalarModel
from llmtrain.objectives import experience, kl, ppo, statistics
from llmtrain.objectives.experience import Experience, Rollout
from llmtrain.objectives.masked import masked_mean, masked_sum
from llmtrain.rollout.judge import Judge, RewardJudge
from llmtrain.run import lineage
from llmtrain.run.lineage import Origin
from llmtrain.run.session import Session
from llmtrain.stages import inputs, setup
from llmtrain.stages.heldout import HeldOut, final_scores
from llmtrain.stages.policy import Policy, TokenBatch

RATIO_TOLERANCE = 1e-3  # of the first minibatch's ratio to 1; float32 sums in another order stay far below


@dataclass(frozen=True)
class LearntBatch(TokenBatch):
    """Responses of a minibatch, packed behind their prompts; M response tokens."""

    old_logp: Tensor  # [M]
    old_values: Tensor  # [M]
    advantages: Tensor  # [M]
    returns: Tensor  # [M]
    first: bool  # of the first minibatch of a rollout, where the ratio must be 1


class Alignment(Policy):
    """The learner: one round is a rollout of batch.rows answers and ppo_epochs x minibatches updates on it."""

    def __init__(
        self,
        config: PPO,
        model: PreTrainedModel,
        reference: PreTrainedModel,
        critic: ScalarModel,
        judge: Judge,
        tokenizer: PreTrainedTokenizerBase,
        prompts: inputs.Prompts,
        held: HeldOut,
        session: Session,
    ):
        super().__init__(model, tokenizer, session)
        self.trained = nn.ModuleDict({"policy": model, "critic": critic})
        self.config, self.reference, self.critic, self.judge = config, reference, critic, judge
        self.prompts, self.held = prompts, held
        self.order = Rows(config.seed, len(prompts), config.batch.rows)
        k = config.kl
        self.kl = kl.controller(k.name.value, k.coef, k.target, k.horizon)
        self.round_metrics: dict[str, float] = {}
        self.recent_kl = 0.0
        self.cut_short = False

    def round(self, step: int) -> Iterator[list[LearntBatch]]:
        rollout = self.roll_out(step)
        a = self.config.advantage
        learnt = experience.learn_from(rollout, kl_coef=self.kl.coef, gamma=a.gamma, lam=a.lam, whiten=a.whiten)
        self._describe(learnt)
        self.cut_short, self.ratio_max = False, 0.0
        for epoch in range(self.config.ppo_epochs):
            for number, parts in enumerate(self._minibatches(learnt, step, epoch)):
                self.moved = {"kl": 0.0, "tokens": 0.0}
                first = epoch == 0 and number == 0
                yield [self._token_batch(learnt.rows(part), first) for part in parts]
            if epoch + 1 < self.config.ppo_epochs and self._moved_far():
                self.cut_short = True
                break
        self.kl.update(self.recent_kl, len(learnt))

    def due(self) -> int | None:
        """Passes times minibatches; the last rollout of an epoch may have fewer answers than minibatches are asked."""
        minibatches = min(self.config.minibatches, len(self.raw_scores))
        return None if self.cut_short else self.config.ppo_epochs * minibatches

    @torch.no_grad()
    def roll_out(self, step: int) -> Rollout:
        """Sample an answer per prompt of this step and let every frozen model say what it thinks of each token."""
        _, rows = self.order.at(step)
        prompts = [self.prompts.ids[i] for i in rows]
        answers = self.complete(prompts, self.config.sampling, self.config.seed, step, "rollout")
        responses = [answer.ids for answer in answers]
        ended = torch.tensor([answer.ended for answer in answers])
        mask = experience.response_slots(responses)
        self.raw_scores = self.judge.score(prompts, answers)
        scores = final_scores(self.config.judge, self.raw_scores, ended)
        blank = torch.zeros(mask.shape)
        rollout = Rollout(prompts, responses, ended, mask, blank, blank.clone(), blank.clone(), scores)
        # in the very micro-batches of the first pass: in bfloat16 another layout gives other numbers (correctness C4)
        parts = [part for window in self._minibatches(rollout, step, 0) for part in window]
        said = self.session.mesh.gather([self._say(rollout, part) for part in self.session.mesh.share(parts)])
        for part, words in zip(parts, said, strict=True):
            here = torch.zeros_like(mask)
            here[part] = mask[part]
            for kept, new in zip((rollout.old_logp, rollout.ref_logp, rollout.values), words, strict=True):
                kept[here] = new
        self.sampler_gap = float((rollout.old_logp[mask] - torch.cat([a.logp for a in answers])).abs().mean())
        return rollout

    def _say(self, rollout: Rollout, part: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """What policy, reference and critic, all frozen now, say of each response token of these rows."""
        packed, wanted = self._pack([rollout.prompts[i] for i in part], [rollout.responses[i] for i in part])
        temperature = self.config.sampling.temperature
        logp, ref = (causal.logprobs(m, packed, wanted, temperature) for m in (self.model, self.reference))
        return logp.cpu(), ref.cpu(), self.critic(packed)[wanted.at].cpu()

    def _minibatches(self, rollout: Rollout, step: int, epoch: int) -> Iterator[list[list[int]]]:
        """Rows of the micro-batches of each minibatch of a pass, the minibatches equal to within one sequence.

        The first pass takes the rows in the order they were drawn in, each later one a new permutation.
        """
        n = len(rollout)
        order = epoch_order(self.config.seed, step, n, f"ppo epoch {epoch}") if epoch else np.arange(n)
        for chosen in np.array_split(order, min(self.config.minibatches, n)):
            lengths = [len(rollout.prompts[i]) + len(rollout.responses[i]) for i in chosen]
            yield [chosen[part].tolist() for part in by_tokens(lengths, self.config.batch.micro_tokens)]

    def _token_batch(self, part: Experience, first: bool) -> LearntBatch:
        packed, wanted = self._pack(part.prompts, part.responses)
        old_logp, values, advantages, returns = (
            x[part.mask].to(self.model.device) for x in (part.old_logp, part.values, part.advantages, part.returns)
        )
        return LearntBatch(packed, wanted, old_logp, values, advantages, returns, first)

    def _pack(self, prompts: list[list[int]], responses: list[list[int]]) -> tuple[Packed, Targets]:
        packed = pack([p + r for p, r in zip(prompts, responses, strict=True)])
        wanted = after(packed, [len(p) for p in prompts])
        return packed.to(self.model.device), wanted.to(self.model.device)

    def loss(self, batch: LearntBatch) -> Loss:
        clip, n = self.config.clip, batch.items
        logp = causal.logprobs(self.model, batch.packed, batch.targets, self.config.sampling.temperature)
        policy = ppo.policy_loss(logp, batch.old_logp, batch.advantages, clip_low=clip.ratio)
        values = self.critic(batch.packed)[batch.targets.at]
        value = ppo.value_loss(values, batch.old_values, batch.returns, clip=clip.value)
        monitors = {name: float(total) for name, total in policy.monitors().items()}
        if batch.first and (gap := float(policy.log_ratio.abs().max())) > RATIO_TOLERANCE:
            raise TrainingError(
                f"the first minibatch of a rollout has log ratios up to {gap:.6f} instead of 0: the same forward gives "
                "other numbers in training than right behind the rollout; this is a bug"
            )
        self.ratio_max = max(self.ratio_max, float(policy.ratio_max()))
        self.moved["kl"] += monitors["kl_k3"]
        self.moved["tokens"] += n
        total = policy.losses.sum() + clip.value_coef * value.losses.sum()
        sums = {"policy_loss": policy.losses.sum().item(), "value_loss": value.losses.sum().item(), **monitors}
        return Loss(total, {name: (amount, n) for name, amount in sums.items()})

    def _moved_far(self) -> bool:
        """Whether the last minibatch, of all processes together, was further from the rollout than target_kl."""
        if self.config.target_kl is None:
            return False
        moved = self.session.mesh.sums(self.moved)
        return moved["kl"] / moved["tokens"] > self.config.target_kl

    def _describe(self, learnt: Experience) -> None:
        per_response = kl.kl_per_response(learnt.old_logp, learnt.ref_logp, learnt.mask)
        self.recent_kl = float(per_response.mean())
        log_ratio, lengths = learnt.old_logp - learnt.ref_logp, learnt.mask.sum(-1).float()
        self.round_metrics = {
            "ppo/score": float(self.raw_scores.mean()),
            "ppo/score_sd": float(self.raw_scores.std(correction=0)),
            "ppo/reward": float(learnt.rewards.sum(-1).mean()),
            "ppo/kl": self.recent_kl,
            "ppo/kl_se": kl.standard_error(per_response),
            "ppo/kl_coef": self.kl.coef,
            "ppo/kl_k3": float(masked_sum(kl.k3(log_ratio), learnt.mask) / len(learnt)),
            "ppo/kl_per_token": float(masked_mean(log_ratio, learnt.mask)),
            "ppo/sampler_gap": self.sampler_gap,
            "ppo/length": float(lengths.mean()),
            "ppo/ended": float(learnt.ended.float().mean()),
            "ppo/entropy": float(-learnt.old_logp[learnt.mask].mean()),
            "ppo/explained_variance": statistics.explained_variance(learnt.values, learnt.returns, learnt.mask),
            "ppo/score_length_correlation": statistics.correlation(self.raw_scores, lengths),
        }

    def metrics(self) -> dict[str, float]:
        return {**self.round_metrics, "ppo/ratio_max": max(self.session.mesh.gather([self.ratio_max]))}

    def finished(self) -> str | None:
        cap = self.config.kl.cap
        if cap is not None and self.recent_kl > cap:
            return f"KL budget used up: {self.recent_kl:.2f} nats per response, kl.cap={cap:g}"
        return None

    def evaluate(self, step: int) -> Evaluation:
        return self.held.measure(self, step)

    def state_dict(self) -> dict:
        return {"kl": self.kl.state_dict(), "recent_kl": self.recent_kl}

    def load_state_dict(self, state: dict) -> None:
        self.kl.load_state_dict(state["kl"])
        self.recent_kl = state["recent_kl"]


def run(config: PPO, path: Path) -> dict:
    """Train and record; returns the result record."""
    mesh = setup.mesh_of(config)
    with setup.session_of(config, path, mesh, higher_is_better=True) as session:
        origin = setup.origin_of(config, path, "init", config.init, ("sft",))
        frozen = setup.origin_of(config, path, "reference", config.reference, ("sft",)) if config.reference else origin
        judged = setup.origin_of(config, path, "judge", config.judge.init, ("reward",))
        check_judge(judged, config.judge.require_probes)
        tokenizer = setup.tokenizer_at(origin.path, chat=True)
        setup.check_same_tokenizer(tokenizer, judged.path)
        prompts, held = inputs.prompts(config, config.data, tokenizer)
        reference = setup.model_at(frozen.path, mesh).eval().requires_grad_(False)
        model = setup.model_at(session.checkpoint.path if session.checkpoint else origin.path, mesh)
        longest = config.data.max_length + config.sampling.max_new_tokens
        setup.check_context(model, longest, "data.max_length + sampling.max_new_tokens")
        reward, critic = (scalar.load(judged.path, device=mesh.device, dtype=mesh.dtype) for _ in range(2))
        judge = RewardJudge(reward.eval().requires_grad_(False), config.batch.micro_tokens)
        lineage.write(path, {"init": origin, "reference": frozen, "judge": judged}, {"prompts": prompts.digest})
        session.count(overlap.counts(prompts.records, held.records) | {"ppo/ended": config.batch.rows})
        measured = HeldOut(config, reference, judge, held)
        learner = Alignment(config, model, reference, critic, judge, tokenizer, prompts, measured, session)
        total = setup.steps_of(config, learner.order.steps_per_epoch)
        stop = setup.stop_of(config.stop)
        best = stop.metric if stop else "eval/score"
        outcome = fit(
            learner,
            setup.optimizer_of(config, learner.trained, {"critic.": config.critic_lr}),
            setup.schedule_of(config, total),
            session,
            setup.plan_of(
                config, total, best=best, higher=True, shown=("ppo/score", "ppo/kl", "ppo/length", best), first=True
            ),
            stop,
        )
        return setup.finish(session, outcome, best, kl=learner.recent_kl)


def check_judge(judge: Origin, required: bool) -> None:
    """Refuse a judge that failed its probes: PPO finds such a hole within a few steps. Raises InitError."""
    record = judge.run / "probes.json" if judge.run else None
    if not required or record is None or not record.is_file():
        return
    failed = json.loads(record.read_text(encoding="utf-8"))["failed"]
    if failed:
        raise InitError(
            f"judge.init={judge.run}: the reward model failed {len(failed)} probes ({', '.join(failed[:4])}); rank "
            "more kinds of answers (sample.foreign, sample.policies), train it again, or set judge.require_probes=false"
        )
