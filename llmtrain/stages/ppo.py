"""ppo: improve the model on the judge's score, until it is good enough or the iterations or the KL budget run out."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmtrain.config.ppo import ADVANTAGE
from llmtrain.config.schema import PPO
from llmtrain.data import overlap
from llmtrain.data.order import Rows, epoch_order
from llmtrain.data.pack import Packed, Targets, after, behind, by_tokens, in_common
from llmtrain.errors import TrainingError
from llmtrain.evaluate import overoptimisation
from llmtrain.loop.fit import fit
from llmtrain.loop.laps import Laps
from llmtrain.loop.learner import Evaluation, Loss
from llmtrain.models import causal, lora
from llmtrain.models.lora import Adapters
from llmtrain.models.scalar import Head, ScalarModel
from llmtrain.objectives import experience, kl, ppo
from llmtrain.objectives.experience import Experience, Rollout
from llmtrain.objectives.monitors import monitors
from llmtrain.rollout.judge import Judge
from llmtrain.run import lineage, metrics
from llmtrain.run.session import Session
from llmtrain.stages import inputs, judges, setup
from llmtrain.stages.heldout import HeldOut, final_scores
from llmtrain.stages.policy import Policy, TokenBatch, tell_memory

RATIO_TOLERANCE = 1e-3  # of the first minibatch's ratio to 1; float32 sums in another order stay far below


@dataclass(frozen=True)
class LearntBatch(TokenBatch):
    """Responses of a minibatch, packed behind their prompts; M response tokens."""

    old_logp: Tensor  # [M]
    advantages: Tensor  # [M]
    old_values: Tensor | None  # [M] where there is a critic
    returns: Tensor | None  # [M] the same
    first: bool  # of the first minibatch of a rollout, where the ratio must be 1


class Alignment(Policy):
    """The learner: one round is a rollout of batch.rows answers and ppo_epochs x minibatches updates on it.

    critic: a model of its own, or a head on the policy's trunk, which its loss then moves too; None where the
    estimator has none, and nothing of one is trained or saved. reference: a model of its own, or the policy's adapters,
    which are off where it is asked.
    """

    def __init__(
        self,
        config: PPO,
        model: PreTrainedModel,
        reference: PreTrainedModel | Adapters,
        critic: ScalarModel | Head | None,
        judge: Judge,
        tokenizer: PreTrainedTokenizerBase,
        prompts: inputs.Prompts,
        held: HeldOut,
        session: Session,
        adapters: Adapters | None = None,
    ):
        super().__init__(model, tokenizer, session, adapters)
        self.trained = nn.ModuleDict({"policy": self.trained} | ({"critic": critic} if critic else {}))
        self.config, self.reference, self.critic, self.judge = config, reference, critic, judge
        self.prompts, self.held = prompts, held
        self.order = Rows(config.seed, len(prompts), config.batch.rows // config.advantage.answers)
        k = config.kl
        self.kl = kl.controller(k.name.value, k.coef, k.target, k.horizon)
        self.round_metrics: dict[str, float] = {}
        self.recent_kl = 0.0
        self.cut_short = False

    def round(self, step: int) -> Iterator[list[LearntBatch]]:
        rollout = self.roll_out(step)
        learnt = self.learn_from(rollout)
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
        self.laps.lap("update")

    def due(self) -> int | None:
        """Passes times minibatches; the last rollout of an epoch may have fewer answers than minibatches are asked."""
        minibatches = min(self.config.minibatches, len(self.raw_scores))
        return None if self.cut_short else self.config.ppo_epochs * minibatches

    def learn_from(self, rollout: Rollout) -> Experience:
        a = self.config.advantage
        settings = {key: value for key, value in asdict(a).items() if key in ADVANTAGE[a.name]}
        return experience.learn_from(rollout, a.name.value, kl_coef=self.kl.coef, answers=a.answers, **settings)

    @torch.no_grad()
    def roll_out(self, step: int) -> Rollout:
        """Sample the answers to each prompt of this step and let every frozen model say what it thinks of each token.

        Each answer has draws of its own; those to the same prompt stand side by side.
        """
        self.laps = Laps()
        _, rows = self.order.at(step)
        asked = self.prompts.take(np.repeat(rows, self.config.advantage.answers))
        prompts = asked.ids
        answers = self.complete(prompts, self.config.sampling, self.config.seed, step, "rollout")
        self.laps.lap("rollout")
        responses = [answer.ids for answer in answers]
        ended = torch.tensor([answer.ended for answer in answers])
        mask = experience.response_slots(responses)
        self.raw_scores = self.judge.score(asked.records, prompts, answers)
        self.laps.lap("judge")
        scores = final_scores(self.config.judge, self.raw_scores, ended)
        old_logp, ref_logp, values = (torch.zeros(mask.shape) for _ in range(3))
        rollout = Rollout(prompts, responses, ended, mask, old_logp, ref_logp, values if self.critic else None, scores)
        # in the very micro-batches of the first pass: in bfloat16 another layout gives other numbers (correctness C4)
        parts = [part for window in self._minibatches(rollout, step, 0) for part in window]
        said = self.session.mesh.gather([self._say(rollout, part) for part in self.session.mesh.share(parts)])
        for part, words in zip(parts, said, strict=True):
            here = torch.zeros_like(mask)
            here[part] = mask[part]
            for kept, new in zip((old_logp, ref_logp, values), words, strict=False):  # without a critic no values
                kept[here] = new
        self.laps.lap("score")
        self.sampler_gap = float((old_logp[mask] - torch.cat([a.logp for a in answers])).abs().mean())
        return rollout

    def _say(self, rollout: Rollout, part: list[int]) -> list[Tensor]:
        """What policy, reference and critic, all frozen now, say of each response token of these rows."""
        packed, wanted = self._pack([rollout.prompts[i] for i in part], [rollout.responses[i] for i in part])
        logp, values = self._own(packed, wanted)
        with lora.frozen(self.reference) as reference:
            before = causal.logprobs(reference, packed, wanted, self.config.sampling.temperature)
        return [words.cpu() for words in (logp, before, values) if words is not None]

    def _own(self, packed: Packed, wanted: Targets) -> tuple[Tensor, Tensor | None]:
        """[M] log-probabilities of the policy and values of the critic, in one forward where they share a trunk."""
        states = causal.hidden(self.model, packed)
        logp = causal.logprobs_at(self.model, states, wanted, self.config.sampling.temperature)
        match self.critic:
            case None:
                return logp, None
            case Head():
                return logp, self.critic(states.index_select(0, wanted.at))
            case _:
                return logp, self.critic(packed)[wanted.at]

    def _minibatches(self, rollout: Rollout, step: int, epoch: int) -> Iterator[list[list[int]]]:
        """Rows of the micro-batches of each minibatch of a pass, the minibatches equal to within one sequence.

        The first pass takes the rows in the order they were drawn in, each later one a new permutation of the prompts:
        the answers to one stay side by side, so that the prompt goes through the models once for them.
        """
        n, k = len(rollout), self.config.advantage.answers
        prompts = epoch_order(self.config.seed, step, n // k, f"ppo epoch {epoch}") if epoch else np.arange(n // k)
        order = (prompts[:, None] * k + np.arange(k)).ravel()
        for chosen in np.array_split(order, min(self.config.minibatches, n)):
            lengths = [len(rollout.prompts[i]) + len(rollout.responses[i]) for i in chosen]
            held = in_common([rollout.prompts[i] for i in chosen])
            yield [chosen[part].tolist() for part in by_tokens(lengths, self.config.batch.micro_tokens, held)]

    def _token_batch(self, part: Experience, first: bool) -> LearntBatch:
        packed, wanted = self._pack(part.prompts, part.responses)
        old_logp, advantages, values, returns = (
            None if x is None else x[part.mask].to(self.model.device)
            for x in (part.old_logp, part.advantages, part.values, part.returns)
        )
        assert old_logp is not None and advantages is not None
        return LearntBatch(packed, wanted, old_logp, advantages, values, returns, first)

    def _pack(self, prompts: list[list[int]], responses: list[list[int]]) -> tuple[Packed, Targets]:
        packed = behind(prompts, responses)
        wanted = after(packed, [len(p) for p in prompts])
        return packed.to(self.model.device), wanted.to(self.model.device)

    def loss(self, batch: LearntBatch) -> Loss:
        n = batch.items
        logp, values = self._own(batch.packed, batch.targets)
        policy = ppo.policy_loss(logp, batch.old_logp, batch.advantages, clip_low=self.config.clip.ratio)
        monitors = {name: float(total) for name, total in policy.monitors().items()}
        if batch.first and (gap := float(policy.log_ratio.abs().max())) > RATIO_TOLERANCE:
            raise TrainingError(
                f"the first minibatch of a rollout has log ratios up to {gap:.6f} instead of 0: the same forward gives "
                "other numbers in training than right behind the rollout; this is a bug"
            )
        self.ratio_max = max(self.ratio_max, float(policy.ratio_max()))
        self.moved["kl"] += monitors["kl_k3"]
        self.moved["tokens"] += n
        total = policy.losses.sum()
        sums = {"policy_loss": total.item(), **monitors}
        if values is not None:
            value, coef = self._value_loss(values, batch), self.config.advantage.value_coef
            assert coef is not None  # config/ppo.py: gae sets it
            sums["value_loss"] = value.item()
            total = total + coef * value
        return Loss(total, {name: (amount, n) for name, amount in sums.items()})

    def _value_loss(self, values: Tensor, batch: LearntBatch) -> Tensor:
        """Sum over the tokens of a batch."""
        assert batch.old_values is not None and batch.returns is not None
        clip = self.config.advantage.value_clip
        return ppo.value_loss(values, batch.old_values, batch.returns, clip=clip).losses.sum()

    def _moved_far(self) -> bool:
        """Whether the last minibatch, of all processes together, was further from the rollout than target_kl."""
        if self.config.target_kl is None:
            return False
        moved = self.session.mesh.sums(self.moved)
        return moved["kl"] / moved["tokens"] > self.config.target_kl

    def _describe(self, learnt: Experience) -> None:
        told = monitors(learnt, self.raw_scores, self.config.advantage.answers)
        self.recent_kl = told["kl"]
        told |= {"kl_coef": self.kl.coef, "sampler_gap": self.sampler_gap}
        self.round_metrics = {f"ppo/{name}": value for name, value in told.items()}

    def metrics(self) -> dict[str, float]:
        largest = max(self.session.mesh.gather([self.ratio_max]))
        return {**self.round_metrics, "ppo/ratio_max": largest, **self.laps.metrics()}

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
        tokenizer = setup.tokenizer_at(origin.path, chat=True)
        prompts, held = inputs.prompts(config, config.data, tokenizer)
        judged = judges.opened(config, session, tokenizer, [*prompts.records, *held.records])
        model, adapters = setup.policy_of(config, session, origin)
        reference = setup.reference_at(frozen.path, mesh, adapters if frozen.digest == origin.digest else None)
        longest = config.data.max_length + config.sampling.max_new_tokens
        setup.check_context(model, longest, "data.max_length + sampling.max_new_tokens")
        tell_memory(model, config.sampling, config.batch.rows, longest)
        critic = judges.critic(config, judged, model, mesh)
        parents = {"init": origin, "reference": frozen} | judged.parents
        lineage.write(path, parents, {"prompts": prompts.digest} | judged.digests)
        session.count(overlap.counts(prompts.records, held.records) | {"ppo/ended": config.batch.rows})
        measured = HeldOut(config, reference, judged.judge, held, unmoved=origin.digest == frozen.digest)
        learner = Alignment(
            config, model, reference, critic, judged.judge, tokenizer, prompts, measured, session, adapters
        )
        total = setup.steps_of(config, learner.order.steps_per_epoch)
        stop = setup.stop_of(config.stop)
        best, slow = stop.metric if stop else "eval/score", config.advantage.critic_lr
        outcome = fit(
            learner,
            setup.optimizer_of(config, learner.trained, {} if slow is None else {"critic.": slow}),
            setup.schedule_of(config, total),
            session,
            setup.plan_of(
                config, total, best=best, higher=True, shown=("ppo/score", "ppo/kl", "ppo/length", best), first=True
            ),
            stop,
        )
        graded = overoptimisation.points(metrics.read(path / "metrics.jsonl"))
        if graded and mesh.first:
            overoptimisation.picture({config.run.name: graded}, path / "overoptimisation.png")
        return setup.finish(session, outcome, best, kl=learner.recent_kl, another_algorithm=setup.departures(config))
