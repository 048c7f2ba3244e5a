"""What our functions make of each vector: masks, log-probabilities, language modelling, packing, steps."""

from types import SimpleNamespace

import torch
from torch import nn

from llmtrain.data.pack import pack, targets
from llmtrain.loop.learner import Loss
from llmtrain.loop.optimizer import adamw
from llmtrain.loop.schedule import SCHEDULES, factor, wsd_linear
from llmtrain.loop.update import Totals, update
from llmtrain.models.attention import attend, blocks
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
from tests.loop.fakes import ONE, Kept, OneOfTwo


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
    """Through the loop's own update, on one process and on each of two.

    The loss of a token at weight w is given, and so is its slope: loss + (w - 1) * slope, at w = 1.
    """
    tokens = list(zip(v["micro_batches"], v["token_grads"], strict=True))

    def took(order, mesh):
        weight, backwarded, totals = nn.Parameter(t(1.0)), [], Totals()

        def loss(batch):
            total, n = lm.nll(-(t(batch.losses) + (weight - 1) * t(batch.slopes)))
            total.register_hook(lambda scale: backwarded.append(total.item() * scale.item()))
            return Loss(total, {"loss": (total.item(), n.item())})

        window = [
            SimpleNamespace(losses=x, slopes=g, items=len(x), tokens=len(x), filling=0)
            for x, g in (tokens[i] for i in order)
        ]
        sgd = Kept([weight])
        update(SimpleNamespace(loss=loss), sgd, window, 1e9, mesh, totals)
        return totals, sgd.grads[0], backwarded

    totals, slope, scaled = took([0, 1, 2], ONE)
    # rank 0 shares the first and the third of the window. Gradients are added here, where the vector's DDP averages
    ranks = [2 * sum(took([0, 2, 1], OneOfTwo(rank, 2, ONE.device, ONE.dtype))[2]) for rank in (0, 1)]
    return {
        "correct_loss": totals.sums["loss"] / totals.counts["loss"],
        "correct_grad": slope[0],
        "n_total": totals.counts["loss"],
        "scaled_micro_losses": scaled,
        "ddp_rank_loss_to_backward": ranks,
        "ddp_mean_over_ranks": sum(ranks) / 2,
    }


def packing(v, t):
    """Whom a token sees is read off the attention itself: alike keys give equal weights, values show their places."""
    tokens = iter(v["tokens"])
    packed = pack([[next(tokens) for _ in range(n)] for n in v["doc_lengths"]])
    n = len(v["tokens"])
    found = targets(packed, [[True] * length for length in v["doc_lengths"]])
    segments = torch.searchsorted(packed.bounds, torch.arange(n), right=True) - 1
    labels = torch.full((n,), -100)
    labels[found.at + 1] = found.ids
    alike, places = t([[[[0.0] * n] * n]]), torch.eye(n, dtype=t(0.0).dtype)[None, None]
    weights, _ = attend(nn.Module(), alike, alike, places, None, llmtrain_blocks=blocks(packed.bounds))
    return {
        "position_ids": packed.positions,
        "segment_ids": segments,
        "attention": weights[0, :, 0] > 0,
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
