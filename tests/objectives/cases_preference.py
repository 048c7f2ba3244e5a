"""What our functions make of each vector: rankings, the judge's report card, DPO."""

import torch

from llmtrain.objectives.dpo import PairLogprobs, dpo_loss
from llmtrain.objectives.intervals import wilson
from llmtrain.objectives.ranking import bradley_terry, centre_penalty, kway_loss, normalised_head, pairs
from llmtrain.objectives.statistics import brier, calibration, ece, log_loss, pair_accuracy


def kway_ranking_loss(v, t):
    group = torch.zeros(4, dtype=torch.int64)

    def one(ranks):
        scores = t(v["scores"]).requires_grad_()
        total, prompts = kway_loss(scores, group, t(ranks))
        (total / prompts).backward()
        return {"loss": total / prompts, "n_pairs": len(pairs(group, t(ranks)).better), "grad_scores": scores.grad}

    second = v["second_prompt"]
    scores, ranks = t(v["scores"] + second["scores"]), t(v["ranks"] + second["ranks"])
    both = torch.tensor([0, 0, 0, 0, 1, 1])
    total, prompts = kway_loss(scores, both, ranks)
    found = pairs(group, t(v["ranks"]))
    everything = pairs(both, ranks)
    return {
        **one(v["ranks"]),
        "tie": one(v["ranks_with_tie"]),
        "batch_per_prompt_mean": total / prompts,
        "batch_pooled_pairs": bradley_terry(scores[everything.better], scores[everything.worse]).mean(),
        "pair_accuracy": pair_accuracy(scores[found.better] - scores[found.worse]),
    }


def bradley_terry_margin(v, t):
    chosen, rejected, extreme = t(v["chosen"]), t(v["rejected"]), t(v["extreme_difference"])
    plain = bradley_terry(chosen, rejected)
    held = bradley_terry(chosen, rejected, t(v["margin"]))
    return {
        "no_margin": {"per_pair": plain, "mean": plain.mean()},
        "margin": {"per_pair": held, "mean": held.mean()},
        "extreme_per_pair": bradley_terry(extreme, torch.zeros_like(extreme)),
        "accuracy_ties_half": pair_accuracy(chosen - rejected),
        "center_penalty_0p01": 0.01 * centre_penalty(chosen, rejected).mean(),
        "soft_label_0p8": bradley_terry(chosen, rejected, label=0.8).mean(),
    }


def rm_bias_normalisation(v, t):
    raw = t(v["raw_head_on_demos"])
    current = v["old_gain"] * raw + v["old_bias"]
    out = {}
    for name, unit_sd in (("mean_only", False), ("mean_std", True)):
        gain, bias = normalised_head(current, v["old_gain"], v["old_bias"], unit_sd=unit_sd)
        out[name] = {"gain": gain, "bias": bias, "outputs": gain * raw + bias}
    return out


def rm_eval(v, t):
    d = t(v["chosen"]) - t(v["rejected"])
    return {
        "accuracy": pair_accuracy(d),
        "logloss": log_loss(d),
        "brier": brier(d),
        "ece": ece(d, v["bins"]),
        "bins": [[b.low, b.high, b.n, b.accuracy, b.confidence] for b in calibration(d, v["bins"])],
        "wilson95_of_57_of_80": wilson(57, 80, 0.95),
    }


def dpo_losses(v, t):
    reference = PairLogprobs(t(v["ref_chosen"]), t(v["ref_rejected"]))
    policy = PairLogprobs(t(v["policy_chosen"]).requires_grad_(), t(v["policy_rejected"]))

    def run(loss, label_smoothing=0.0, policy=policy, reference=reference):
        return dpo_loss(policy, reference, loss=loss, beta=v["beta"], label_smoothing=label_smoothing)

    def averaged(logp):
        return PairLogprobs(logp.chosen / t(v["n_chosen"]), logp.rejected / t(v["n_rejected"]))

    plain = run("sigmoid")
    plain.losses.mean().backward()
    results = {
        "sigmoid": plain,
        "cdpo_ls01": run("conservative", 0.1),
        "robust_ls01": run("robust", 0.1),
        "ipo_sum": run("ipo"),
        "ipo_avg": run("ipo", policy=averaged(policy), reference=averaged(reference)),
        "hinge": run("hinge"),
    }
    return {
        **{name: {"per_pair": r.losses, "mean": r.losses.mean()} for name, r in results.items()},
        "h": plain.margin / v["beta"],
        "chosen_reward": plain.chosen_reward,
        "rejected_reward": plain.rejected_reward,
        "accuracy_ties_half": pair_accuracy(plain.margin),
        "grad_policy_chosen_logp_mean_loss": policy.chosen.grad,
        "at_init_loss": run("sigmoid", policy=reference).losses.mean(),
    }


CASES = {
    "kway_ranking_loss": kway_ranking_loss,
    "bradley_terry_margin": bradley_terry_margin,
    "rm_bias_normalisation": rm_bias_normalisation,
    "rm_eval": rm_eval,
    "dpo_losses": dpo_losses,
}
