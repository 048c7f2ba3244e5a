"""The bugs that the invariants are there to catch, each a patch of the program: number, what is broken, how.

A patch gets pytest's monkeypatch. `given` are the arguments of the invariant's parametrised test; its fixtures come by
name. The table in test_mutations.py runs each invariant under each of its bugs and wants it to fail.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from llmtrain.config import combinations
from llmtrain.data import order, pack
from llmtrain.loop import optimizer, schedule
from llmtrain.loop.learner import Loss
from llmtrain.models import attention, causal, scalar
from llmtrain.objectives import advantages, dpo, experience, kl, masked, ppo, ranking, rewards, statistics
from llmtrain.objectives.estimators import group
from llmtrain.objectives.experience import Experience, Rollout
from llmtrain.rollout import kvcache, sample
from llmtrain.stages import dpo as dpo_stage
from llmtrain.stages import ppo as ppo_stage
from llmtrain.stages import reward as reward_stage
from llmtrain.text import template
from tests.invariants import lab

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutation:
    """A bug and the invariant that must see it."""

    number: int
    broken: str
    patch: Patch
    given: dict[str, Any] = field(default_factory=dict)


def everywhere(function: Callable[..., Any], bug: Callable[..., Any]) -> Patch:
    """Replace a function of the program wherever it was imported to; the bug gets the right one first."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        def wrong(*args: Any, **options: Any) -> Any:
            return bug(function, *args, **options)

        for name, module in list(sys.modules.items()):
            if name.startswith(("llmtrain.", "tests.")):
                for key in [key for key, value in vars(module).items() if value is function]:
                    monkeypatch.setattr(module, key, wrong)

    return patch


def method(owner: Any, name: str, bug: Callable[..., Any]) -> Patch:
    """Replace a method; the bug gets the right one first."""
    right = getattr(owner, name)
    return lambda m: m.setattr(owner, name, lambda *args, **options: bug(right, *args, **options))


def value(owner: Any, name: str, wrong: Any) -> Patch:
    """Replace what `owner.name` is."""
    return lambda m: m.setattr(owner, name, wrong)


def together(*patches: Patch) -> Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for one in patches:
            one(monkeypatch)

    return patch


def training_alone(right, model, states, targets, temperature=1.0) -> Tensor:
    """The temperature, but only where gradients are taken."""
    return right(model, states, targets, temperature if torch.is_grad_enabled() else 1.0)


def policy_alone(right, model, states, targets, temperature=1.0) -> Tensor:
    """The temperature, but not for the frozen reference."""
    return right(model, states, targets, temperature if next(model.parameters()).requires_grad else 1.0)


def old_logp_stays(right, self, index) -> Rollout:
    """Everything is shuffled but the old log-probabilities."""
    return replace(right(self, index), old_logp=right(self, sorted(index)).old_logp)


def one_slot_late(right, mask) -> Tensor:
    """The score behind the last token wherever there is room, as trl and N+ have it."""
    last = right(mask)
    room = (last & (torch.arange(mask.shape[1]) < mask.shape[1] - 1)).any(-1, keepdim=True)
    return torch.where(room, last.roll(1, -1), last)


def k3_rewards(right, scores, logp, ref_logp, mask, kl_coef) -> Tensor:
    end = right(scores, logp, logp, mask, kl_coef)
    return end - kl_coef * masked.fill(kl.k3(logp - ref_logp), mask)


def last_value(right, given, values, mask, **options) -> tuple[Tensor, Tensor]:
    """The end of an answer is worth what its last token was worth, instead of nothing."""
    last = values.gather(1, (mask.sum(-1, keepdim=True) - 1).clamp(min=0)).squeeze(1)
    return right(given, values, mask, **(options | {"bootstrap": last}))


def whitened_returns(right, given, values, mask, **options) -> tuple[Tensor, Tensor]:
    white = masked.masked_whiten(right(given, values, mask, **options)[0], mask)
    return white, white + values


def means(right, self, batch) -> Loss:
    """Each micro-batch brings its mean, so that the window becomes a mean of means."""
    loss = right(self, batch)
    return replace(loss, total=loss.total / batch.items)


def end_left_out(right, rollout, *args, **options) -> Experience:
    """A mask from `ids != pad` where pad is the end token: it has no part in the loss, the score sits before it."""
    end = rewards.last_token(rollout.mask) & rollout.ended[:, None]
    learnt = right(replace(rollout, mask=rollout.mask & ~end), *args, **options)
    return replace(learnt, mask=rollout.mask, returns=torch.where(end, rollout.values, learnt.returns))


def end_forced(right, self, *args, **options) -> list[sample.Completion]:
    """An answer that was cut off gets an end token that nobody sampled."""
    return [c if c.ended else sample.Completion([*c.ids[:-1], 1], True, c.logp) for c in right(self, *args, **options)]


def padding_counts(right, x, mask=None, dim=None) -> Tensor:
    """The mean over all slots."""
    return masked.masked_sum(x, mask, dim) / masked.count(x, None, dim)


def bare_division(right, x, mask=None, dim=None) -> Tensor:
    return masked.masked_sum(x, mask, dim) / masked.count(x, mask, dim)


def by_storage(right, group, ranks, tie="drop") -> ranking.Pairs:
    """Only pairs whose better answer is stored first."""
    p = right(group, ranks, tie)
    kept = p.better < p.worse
    return ranking.Pairs(p.better[kept], p.worse[kept], p.label[kept], p.prompt[kept])


def ends_not_targets(right, packed, masks) -> pack.Targets:
    """Targets from `ids != pad`, where pad is the end token 1."""
    t = right(packed, masks)
    kept = t.ids != 1
    return pack.Targets(t.at[kept], t.ids[kept], t.sequence[kept])


def no_positions(right, model, ids, positions, cache) -> Tensor:
    return right(model, ids, torch.arange(ids.shape[1]).expand_as(ids), cache)


def old_row_seen(right, self, packed, first) -> None:
    """A new prompt's slot still shows the tokens of the row that had it before."""
    before = self.bias.clone()
    right(self, packed, first)
    self.bias.copy_(torch.maximum(before, self.bias))


def running_positions(right, sequences) -> pack.Packed:
    row = right(sequences)
    return replace(row, positions=torch.arange(len(row.ids)))


def at_the_prompt(right, prompts, answers) -> pack.Packed:
    row = right(prompts, answers)
    held = row.shared[:, 1] - row.shared[:, 0]
    return replace(row, positions=row.positions - torch.repeat_interleave(held, row.bounds.diff()))


def half_detached(right, values, *args, **options) -> ppo.ValueLoss:
    return right((values + values.detach()) / 2, *args, **options)


def no_header(right, tokenizer, conversations) -> list[list[int]]:
    """add_generation_prompt forgotten."""
    return [template.encode_chat(tokenizer, messages)[0] for messages in conversations]


def times_mask(right, x, mask, value=0.0) -> Tensor:
    """NaN * 0 is NaN."""
    return x if mask is None else x * mask


def kl_pays(right, scores, logp, ref_logp, mask, kl_coef) -> Tensor:
    return right(scores, logp, ref_logp, mask, -kl_coef)


def no_future(right, *args, gamma, **options) -> tuple[Tensor, Tensor]:
    """Each token pays for its own KL alone."""
    return right(*args, gamma=0.0, **options)


def values_shifted(right, given, values, mask, **options) -> tuple[Tensor, Tensor]:
    return right(given, values.roll(-1, 1), mask, **options)


def in_storage(right, self, index) -> Rollout:
    return right(self, sorted(index))


def one_order(right, seed, epoch, n, *purpose) -> np.ndarray:
    return right(seed, 0, n)


def any_order(right, seed, epoch, n, *purpose) -> np.ndarray:
    return torch.randperm(n).numpy()


def shifted_cache(right, *args) -> Tensor:
    return right(*args).roll(1)


def sign_of_h(h, beta, label_smoothing) -> Tensor:
    return -torch.nn.functional.logsigmoid(-beta * h)


def bias_kept(right, self, path) -> None:
    """The mean is taken of scores that are shifted already, as N+ reward.py does."""
    scalar.load_weights(self.model, path)


def untempered(right, logits, temperature, uniforms) -> tuple[Tensor, Tensor]:
    return right(logits, 1.0, uniforms)


def per_token(right, logp, ref_logp, mask) -> Tensor:
    return right(logp, ref_logp, mask) / mask.sum(-1)


def rollout_in_float32(right, model) -> Any:
    return right(model) if torch.is_grad_enabled() else nullcontext()


def two_to_a_step(right, shape, step, **options) -> float:
    return right(shape, 2 * step, **options)


EARLY = property(lambda row: row.bounds[1:] - 2)
NEIGHBOUR = property(lambda row: torch.arange(-1, len(row.ids) - 1))
ONE_BLOCK = value(causal, "blocks", lambda bounds, _: attention.blocks(bounds[[0, -1]]))
UNCHECKED = together(*(value(causal, name, lambda *_: None) for name in ("self_test", "dropout_test")))
DROPOUT = everywhere(causal.without_dropout, lambda right, config, dropout: config)
SMOOTHING = value(combinations, "CHECKS", [c for c in combinations.CHECKS if c[1] is not combinations._dpo])
GPT2: dict[str, Any] = {"architecture": "gpt2"}
LLAMA: dict[str, Any] = {"architecture": "llama"}
OPT: dict[str, Any] = {"architecture": "opt"}
SFT: dict[str, Any] = {"command": "sft"}
ONE: dict[str, Any] = {"answers": 1}
Learner, Preferences, Judging = ppo_stage.Alignment, dpo_stage.Preferences, reward_stage.Judging

MUTATIONS = [
    Mutation(1, "temperature on one side only", everywhere(causal.logprobs_at, training_alone), GPT2),
    Mutation(2, "old log-probabilities not shuffled along", method(Experience, "rows", old_logp_stays), LLAMA | ONE),
    Mutation(3, "reference scored without temperature", everywhere(causal.logprobs_at, policy_alone), GPT2),
    Mutation(4, "score one slot late where padding is", everywhere(rewards.last_token, one_slot_late)),
    Mutation(4, "padding in the mean of the whitening", everywhere(masked.masked_mean, padding_counts)),
    Mutation(5, "padding multiplied by 0", everywhere(masked.fill, times_mask)),
    Mutation(6, "no position ids in a decoding step", everywhere(kvcache.states, no_positions), GPT2),
    Mutation(6, "slot shows the row before", method(kvcache.Cache, "prompts", old_row_seen), LLAMA),
    Mutation(7, "score read one token early", value(pack.Packed, "last", EARLY), LLAMA | {"pad": lab.EOS}),
    Mutation(8, "positions run on through the row", everywhere(pack.pack, running_positions), OPT),
    Mutation(8, "documents see each other", together(ONE_BLOCK, UNCHECKED), LLAMA),
    Mutation(
        8,
        "answers do not see the prompt they share",
        everywhere(attention.blocks, lambda right, bounds, _: right(bounds)),
        LLAMA,
    ),
    Mutation(8, "answers stand at the positions of the prompt", everywhere(pack.behind, at_the_prompt), GPT2),
    Mutation(8, "first token predicted by the answer before", value(pack.Packed, "before", NEIGHBOUR), LLAMA),
    Mutation(9, "documents see each other", ONE_BLOCK, GPT2),
    Mutation(10, "mean of means", method(Learner, "loss", means), LLAMA | ONE),
    Mutation(11, "minibatches do nothing", value(np, "array_split", lambda x, n: [x]), {"minibatches": 4}),
    Mutation(12, "k3 in the reward", everywhere(rewards.shaped_rewards, k3_rewards)),
    Mutation(12, "sign of the KL", everywhere(rewards.shaped_rewards, kl_pays)),
    Mutation(13, "score one slot late where padding is", everywhere(rewards.last_token, one_slot_late)),
    Mutation(13, "no KL to go", everywhere(advantages.gae, no_future)),
    Mutation(14, "coefficient of the KL ignored", value(kl, "controller", lambda *_: kl.FixedKL(0.5))),
    Mutation(15, "end token masked out of the loss", everywhere(experience.learn_from, end_left_out)),
    Mutation(16, "value behind the end not 0", everywhere(advantages.gae, last_value)),
    Mutation(17, "values one slot off", everywhere(advantages.gae, values_shifted)),
    Mutation(18, "returns from whitened advantages", everywhere(advantages.gae, whitened_returns)),
    Mutation(19, "rows in the order of storage", method(Rollout, "rows", in_storage)),
    Mutation(20, "same order in each pass", everywhere(order.epoch_order, one_order), ONE),
    Mutation(20, "unseeded permutation", everywhere(order.epoch_order, any_order), ONE),
    Mutation(21, "dropout left on", together(DROPOUT, UNCHECKED), GPT2),
    Mutation(22, "cached reference in another order", method(Preferences, "_reference", shifted_cache), LLAMA),
    Mutation(23, "sign of h", lambda m: m.setitem(dpo.LOSSES, "sigmoid", sign_of_h), GPT2),
    Mutation(24, "pairs by storage, not by rank", everywhere(ranking.pairs, by_storage)),
    Mutation(25, "equal scores count as wrong", everywhere(statistics.correct, lambda right, d: (d > 0).double())),
    Mutation(26, "bias kept while its mean is measured", method(Judging, "load", bias_kept)),
    Mutation(27, "moments of Adam not restored", everywhere(optimizer.from_tensors, lambda *_: None), SFT),
    Mutation(28, "end token is no target", everywhere(pack.targets, ends_not_targets), LLAMA),
    Mutation(29, "prompt without the answer's header", everywhere(template.encode_prompts, no_header)),
    Mutation(30, "end token that nobody sampled", method(Learner, "complete", end_forced)),
    Mutation(31, "sampler forgets the temperature", everywhere(sample.inverse_cdf, untempered)),
    Mutation(32, "nats per token", everywhere(kl.kl_per_response, per_token)),
    Mutation(33, "old log-probabilities in float32", method(causal, "precision", rollout_in_float32), LLAMA),
    Mutation(34, "schedule counts micro-batches", everywhere(schedule.factor, two_to_a_step)),
    Mutation(35, "label_smoothing ignored in silence", SMOOTHING, {"command": "dpo"}),
    Mutation(36, "mean of nothing", everywhere(masked.masked_mean, bare_division)),
    Mutation(36, "equal group divided by its rounding", everywhere(group.unless_equal, lambda right, s, a: a)),
    Mutation(37, "half of the critic's gradient lost", everywhere(ppo.value_loss, half_detached)),
]
