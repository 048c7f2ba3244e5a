"""What ppo measures on held-out prompts, the same ones every time, decoded greedily."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llmtrain.config.ppo import Judge as JudgeConfig
from llmtrain.config.schema import PPO
from llmtrain.evaluate import hhh
from llmtrain.loop.learner import Evaluation, Rate
from llmtrain.models import lora
from llmtrain.models.lora import Adapters
from llmtrain.objectives import rewards, statistics
from llmtrain.rollout.judge import Judge
from llmtrain.rollout.sample import Completion
from llmtrain.stages import inputs, setup
from llmtrain.stages.policy import Policy, complete


def final_scores(judge: JudgeConfig, raw: Tensor, ended: Tensor) -> Tensor:
    """[B] judged scores, scaled, bounded and with the rule for a missing EOS, as PPO learns from them."""
    return rewards.final_scores(
        raw,
        ended,
        scale=judge.scale,
        clip=judge.clip,
        missing_eos=judge.missing_eos.value,
        missing_eos_score=judge.missing_eos_score,
    )


class HeldOut:
    """Score, win rate against the reference by the judge, gold grades where the prompts have graders.

    unmoved: whether the policy begins as the reference, whose answers are then those of step 0.
    """

    def __init__(
        self,
        config: PPO,
        reference: PreTrainedModel | Adapters,
        judge: Judge,
        prompts: inputs.Prompts,
        *,
        unmoved: bool,
    ):
        self.config, self.reference, self.judge, self.prompts = config, reference, judge, prompts
        self.unmoved = unmoved
        self.before: tuple[Tensor, Tensor] | None = None  # of the reference's answers: [B] raw scores, [B] who ended

    def measure(self, policy: Policy, step: int) -> Evaluation:
        """The numbers of `policy` now; its answers go to samples/."""
        answers = self._answers(policy, policy.model)
        raw, ended = self._judged(answers)
        if self.before is None:
            self.before = (raw, ended) if self.unmoved and step == 0 else self._judged(self._of_reference(policy))
        scores = final_scores(self.config.judge, raw, ended)
        wins = statistics.wins(raw - self.before[0], ended, self.before[1])
        texts = [(policy.text(a), a.ended) for a in answers]
        values: Evaluation = {
            "eval/score": float(scores.mean()),
            "eval/win_rate": Rate(float(wins.sum()), len(wins), self.prompts.combinations),
            "eval/length": sum(len(a.ids) for a in answers) / len(answers),
            "eval/ended": Rate(sum(a.ended for a in answers), len(answers)),
        }
        if self.prompts.graded:
            values |= hhh.gold(self.prompts.records, texts)
        rows = [
            {"prompt": p.messages[-1].content, "answer": text, "ended": ended, "score": round(float(score), 3)}
            for p, (text, ended), score in zip(self.prompts.records, texts, scores, strict=True)
        ]
        policy.write_samples(step, rows)
        return values

    def _answers(self, policy: Policy, model: PreTrainedModel) -> list[Completion]:
        greedy = setup.greedy(self.config.sampling)
        return complete(model, policy.tokenizer, self.prompts.ids, greedy, self.config.seed, session=policy.session)

    def _of_reference(self, policy: Policy) -> list[Completion]:
        with lora.frozen(self.reference) as model:
            return self._answers(policy, model)

    def _judged(self, answers: list[Completion]) -> tuple[Tensor, Tensor]:
        raw = self.judge.score(self.prompts.records, self.prompts.ids, answers)
        return raw, torch.tensor([a.ended for a in answers])
