"""What our functions make of each vector: masks, log-probabilities, language modelling, packing, steps."""

import torch
from torch import nn

from llmtrain.data.pack import pack, targets
from llmtrain.loop.optimizer import adamw
from llmtrain.loop.schedule import SCHEDULES, factor, wsd_linear
from llmtrain.objectives import lm
from llmtrain.objectives.logprobs import (
    entropy,
    nucleus_logprobs,
    position_ids,
    response_mask,
    sequence_sums,
    token_logprobs,
)
from llmtrain.objectives.masked import masked_mean, masked_sum, masked_var, masked_whiten


def masked_mean_(v, t):
    x, mask = t(v["x"]), t(v["mask"], torch.bool)
    return {
        "global_mean": masked_mean(x, mask),
        "row_mean": masked_mean(x, mask, dim=-1),
        "row_sum": masked_sum(x, mask, dim=-1),
        "var_ddof0": masked_var(x, mask),
        "var_ddof1": masked_var(x, mask, ddof=1),
    }


def masked_whiten_(v, t):
    x, mask, eps = t(v["x"]), t(v["mask"], torch.bool), v["eps"]
    return {
        "shift_mean_true": masked_whiten(x, mask, eps=eps),
        "shift_mean_false": masked_whiten(x, mask, eps=eps, shift_mean=False),
        "shift_mean_true_ddof1": masked_whiten(x, mask, eps=eps, ddof=1),
    }


def response_mask_pad_equals_eos(v, t):
    mask, ended = response_mask(t(v["responses"], torch.int64), v["eos"])
    return {"mask": mask, "ended": ended, "last_index": mask.sum(-1) - 1}


def position_ids_left_pad(v, t):
    return {"position_ids": position_ids(t(v["attention_mask"], torch.bool))}


def token_logprobs_(v, t):
    """The completion's sums go the way the program goes: flat tokens, summed by their sequence."""
    ids, mask = t(v["ids"], torch.int64)[:, 1:], t(v["completion_mask"], torch.bool)[:, 1:]
    one, low = (token_logprobs(t(v["logits"])[:, :-1], ids, temperature) for temperature in (1.0, 0.7))
    owner = torch.arange(2)[:, None].expand_as(ids)[mask]
    sums = sequence_sums(one[mask], owner, 2)
    return {
        "logp_T1": one,
        "logp_T07": low,
        "seq_sum_T1": sums,
        "seq_sum_T07": sequence_sums(low[mask], owner, 2),
        "seq_avg_T1": masked_mean(one, mask, dim=-1),
    }


def temperature_and_top_p(v, t):
    logits, temperature = t(v["logits"]), v["temperature"]
    everything = torch.arange(len(v["logits"]))
    tempered = token_logprobs(logits.expand(5, 5), everything, temperature)
    plain = token_logprobs(logits.expand(5, 5), everything)
    sampler = nucleus_logprobs(logits, temperature, v["top_p"])
    p = sampler.exp()
    return {
        "p_T": tempered.exp(),
        "kept": p.nonzero().squeeze(1),
        "p_behaviour": p,
        "kept_mass": tempered.exp()[p > 0].sum(),
        "logp_behaviour_token0": sampler[0],
        "logp_T_token0": tempered[0],
        "logp_T1_token0": plain[0],
        "spurious_k1_T_on_one_side": (p * (tempered - plain)).sum(),
        "spurious_k1_top_p_on_one_side": (p[:2] * (sampler - tempered)[:2]).sum(),
    }


def entropy_(v, t):
    return {"H": entropy(t(v["logits"])), "H_T07": entropy(t(v["logits"]), v["temperature"])}


def token_normalised_accumulation(v, t):
    """A weight of 1 whose gradient from each token is given: logp = -(loss + (weight - 1) * gradient)."""
    weight = t(1.0).requires_grad_()
    sums = []
    for losses, slopes in zip(v["micro_batches"], v["token_grads"], strict=True):
        sums.append(lm.nll(-(t(losses) + (weight - 1) * t(slopes))))
    n = sum(count for _, count in sums)
    scaled = torch.stack([total / n for total, _ in sums])
    scaled.sum().backward()
    ranks = 2 * torch.stack([scaled[:2].sum(), scaled[2]])
    return {
        "correct_loss": scaled.sum(),
        "correct_grad": weight.grad,
        "n_total": n,
        "scaled_micro_losses": scaled,
        "ddp_rank_loss_to_backward": ranks,
        "ddp_mean_over_ranks": ranks.mean(),
    }


def packing(v, t):
    tokens = iter(v["tokens"])
    packed = pack([[next(tokens) for _ in range(n)] for n in v["doc_lengths"]])
    n = len(v["tokens"])
    found = targets(packed, [[True] * length for length in v["doc_lengths"]])
    segments = torch.searchsorted(packed.bounds, torch.arange(n), right=True) - 1
    labels = torch.full((n,), -100)
    labels[found.at + 1] = found.ids
    # a token sees the `position` tokens before it and itself: the block-diagonal causal mask, from positions alone
    ahead = torch.arange(n)[:, None] - torch.arange(n)[None, :]
    return {
        "position_ids": packed.positions,
        "segment_ids": segments,
        "attention": (ahead >= 0) & (ahead <= packed.positions[:, None]),
        "labels_unshifted": labels,
        "n_targets": len(found.ids),
    }


def perplexity_bpb(v, t):
    nats, n = lm.nll(-t(v["nll"]), t(v["mask"], torch.bool))
    spelled, size = lm.byte_sums(t(v["nll"]), t(v["target_bytes_after_mask"], torch.int64), t(v["mask"], torch.bool))
    return {
        "ppl": lm.perplexity(float(nats), float(n)),
        "mean_nll": nats / n,
        "bpb": lm.bits_per_byte(float(spelled), float(size)),
    }


def lr_schedules(v, t):
    def rates(name, steps, final=0.0):
        shape = wsd_linear if name == "wsd_linear" else SCHEDULES[name]
        limits = {"total": v["total"], "warmup": v["warmup"], "decay": v["decay"], "final": final}
        return [v["base"] * factor(shape, step, **limits) for step in steps]

    low, late = v["min_lr"] / v["base"], (80, 90, 95)
    return {
        "cosine_min": rates("cosine", v["steps"], low),
        "cosine_zero": rates("cosine", v["steps"]),
        "linear": rates("linear", v["steps"]),
        "wsd_linear": rates("wsd_linear", v["steps"], low),
        "wsd_sqrt": rates("wsd", v["steps"]),
        "wsd_at_80_90_95": rates("wsd_linear", late),
        "wsd_sqrt_at_80_90_95": rates("wsd", late),
    }


def adam_first_step_eps(v, t):
    def first(eps):
        module = nn.Module()
        module.weight = nn.Parameter(torch.zeros_like(t(v["g"])))
        module.weight.grad = t(v["g"])
        adamw(module, lr=v["lr"], betas=(0.9, 0.999), eps=eps, weight_decay=0.0).step()
        return module.weight

    return {"torch": first(v["eps"]), "torch_eps_1e8": first(1e-8)}


CASES = {
    "masked_mean": masked_mean_,
    "masked_whiten": masked_whiten_,
    "response_mask_pad_equals_eos": response_mask_pad_equals_eos,
    "position_ids_left_pad": position_ids_left_pad,
    "token_logprobs": token_logprobs_,
    "temperature_and_top_p": temperature_and_top_p,
    "entropy": entropy_,
    "token_normalised_accumulation": token_normalised_accumulation,
    "packing": packing,
    "perplexity_bpb": perplexity_bpb,
    "lr_schedules": lr_schedules,
    "adam_first_step_eps": adam_first_step_eps,
}
