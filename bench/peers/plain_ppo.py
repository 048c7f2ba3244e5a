"""PPO as TRL's last trainer did it (TRL has none any more): generate, padded batches, a value model of its own.

Letters: B answers, P columns of prompts (padded on the left), T of answers (filled up on the right), V vocabulary.

An iteration: answers by transformers' generate with their logits kept; one padded forward each of reference, value and
reward model; the KL to the reference in the reward and the score on the last token; GAE, whitened; then passes over
minibatches in which policy and value model see padded rows, whole logits and all. No statistics are computed.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from bench.peers.decoding import generated, left_padded, workload
from bench.peers.side import Done, Gate
from bench.peers.windows import ADAMW, CLIP


@dataclass(frozen=True)
class Rollout:
    """What the passes learn from. mask: True at tokens of answers."""

    ids: Tensor  # [B, P+T]
    seen: Tensor  # [B, P+T]
    mask: Tensor  # [B, T]
    logp: Tensor  # [B, T]
    values: Tensor  # [B, T]
    advantages: Tensor  # [B, T]
    returns: Tensor  # [B, T]


def inputs(ids: Tensor, seen: Tensor) -> dict[str, Any]:
    """Arguments of a forward over padded rows."""
    positions = (seen.cumsum(1) - 1).clamp(min=0)
    return dict(input_ids=ids, attention_mask=seen, position_ids=positions, use_cache=False)


def chosen(logits: Tensor, ids: Tensor) -> Tensor:
    """[B, T] log-probabilities of ids [B, T] under logits [B, T, V]."""
    return logits.gather(-1, ids[..., None]).squeeze(-1) - logits.logsumexp(-1)


def said(model: PreTrainedModel, ids: Tensor, seen: Tensor, width: int) -> Tensor:
    """[B, T] log-probabilities of the last `width` columns."""
    logits = model(**inputs(ids, seen)).logits[:, -width - 1 : -1]
    return chosen(logits, ids[:, -width:])


def numbers(model: PreTrainedModel, ids: Tensor, seen: Tensor) -> Tensor:
    """[B, P+T] what a sequence classifier's head says at every token."""
    states = model.base_model(**inputs(ids, seen)).last_hidden_state
    return model.get_submodule("score")(states).squeeze(-1)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, lam: float) -> Tensor:
    """[B, T] advantages with gamma 1, nothing behind the last token of an answer."""
    found, ahead, after = torch.zeros_like(values), torch.zeros(len(values)), torch.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        ahead = (rewards[:, t] + after - values[:, t] + lam * ahead) * mask[:, t]
        found[:, t], after = ahead, values[:, t] * mask[:, t]
    return found


class PPO:
    """The four models, and an iteration."""

    def __init__(self, asked: dict[str, Any]):
        folder = Path(asked["folder"])
        self.asked = asked
        text, number = AutoModelForCausalLM, AutoModelForSequenceClassification
        self.policy = text.from_pretrained(folder / asked["model"], dtype=torch.float32)
        self.reference = text.from_pretrained(folder / asked["model"], dtype=torch.float32).eval()
        self.value = number.from_pretrained(folder / "critic", dtype=torch.float32)
        self.judge = number.from_pretrained(folder / "judge", dtype=torch.float32).eval()
        self.trained = nn.ModuleList([self.policy, self.value])
        self.optimizer = torch.optim.AdamW(self.trained.parameters(), fused=True, **(ADAMW | {"lr": asked["lr"]}))
        vocab = self.policy.config.vocab_size
        self.prompts, self.lengths = workload(asked["rows"], asked["prompts"], asked["answer"], vocab)

    def iteration(self) -> Done:
        """One rollout and all updates on it."""
        seconds, began = {}, time.monotonic()
        rollout, took = self.roll_out()
        seconds |= took
        between = time.monotonic()
        for _ in range(self.asked["epochs"]):
            for rows in torch.randperm(len(self.prompts)).chunk(self.asked["minibatches"]):
                self.update(rollout, rows)
        seconds["update"] = time.monotonic() - between
        seconds["score"] = between - began - sum(took.values())
        return Done(len(self.prompts), phases=seconds)

    @torch.no_grad()
    def roll_out(self) -> tuple[Rollout, dict[str, float]]:
        """Answers, and what every model says of them; seconds of writing and of judging."""
        began = time.monotonic()
        self.trained.eval()
        ids, seen = left_padded(self.prompts)
        out = generated(self.policy, ids, seen, self.lengths, logits=True)
        self.trained.train()
        width = int(self.lengths.max())
        mask = torch.arange(width) < self.lengths[:, None]
        ids, seen = out.sequences, torch.cat([seen, mask.long()], 1)
        logp = chosen(torch.stack(out.logits, 1), ids[:, -width:])
        took = {"rollout": time.monotonic() - began}
        last = ids.shape[1] - width + self.lengths - 1
        scores = numbers(self.judge, ids, seen).gather(1, last[:, None]).squeeze(1)
        took["judge"] = time.monotonic() - began - took["rollout"]
        values = numbers(self.value, ids, seen)[:, -width - 1 : -1] * mask
        rewards = -self.asked["kl"] * (logp - said(self.reference, ids, seen, width)) * mask
        rewards[torch.arange(len(ids)), self.lengths - 1] += scores
        advantages = gae(rewards, values, mask, self.asked["lam"])
        own = advantages[mask]
        white = (advantages - own.mean()) / (own.std() + 1e-8) * mask
        return Rollout(ids, seen, mask, logp, values, white, advantages + values), took

    def update(self, rollout: Rollout, rows: Tensor) -> None:
        """One optimizer step, on micro-batches of a padded batch each."""
        tokens = rollout.mask[rows].sum()
        for part in rows.split(self.asked["micro_rows"]):
            (self.loss(rollout, part) / tokens).backward()
        torch.nn.utils.clip_grad_norm_(self.trained.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def loss(self, rollout: Rollout, part: Tensor) -> Tensor:
        """Sum over the tokens of the clipped losses of policy and value."""
        ids, seen, mask, clip = rollout.ids[part], rollout.seen[part], rollout.mask[part], self.asked["clip"]
        width = mask.shape[1]
        ratio = (said(self.policy, ids, seen, width) - rollout.logp[part]).exp()
        gain = rollout.advantages[part]
        policy = torch.maximum(-gain * ratio, -gain * ratio.clamp(1 - clip, 1 + clip))
        values, old, wanted = (
            numbers(self.value, ids, seen)[:, -width - 1 : -1],
            rollout.values[part],
            rollout.returns[part],
        )
        near = old + (values - old).clamp(-clip, clip)
        value = torch.maximum((values - wanted) ** 2, (near - wanted) ** 2) / 2
        return ((policy + self.asked["value_coef"] * value) * mask).sum()


def ppo(gate: Gate, asked: dict[str, Any]) -> None:
    """Iterations on the same prompts."""
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    run = PPO(asked)
    gate.ready()
    gate.serve(run.iteration)


SIDES = {"ppo": ppo}
