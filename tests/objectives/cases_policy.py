"""What our functions make of each vector: rewards, advantages, PPO losses, KL."""

import torch

from llmtrain.objectives import kl
from llmtrain.objectives.advantages import dr_grpo, gae, grpo, reinforce_pp, rloo
from llmtrain.objectives.masked import fill, masked_mean, masked_whiten
from llmtrain.objectives.ppo import (
    AGGREGATIONS,
    aggregate,
    policy_loss,
    sequence_ratio,
    truncated_weights,
    value_loss,
)
from llmtrain.objectives.rewards import final_scores, shaped_rewards
from tests.objectives import bandit


def shaped_rewards_(v, t):
    mask, ended = t(v["mask"], torch.bool), t(v["ended"], torch.bool)
    logp, ref = t(v["logp"]), t(v["ref_logp"])
    rule = {"scale": 1 / v["std"], "clip": v["clip"], "missing_eos_score": v["penalty"]}
    centred = t(v["raw_score"]) - v["mean"]  # the judge's own bias
    scores = final_scores(centred, ended, missing_eos=v["no_eos"], **rule)
    per_response = kl.kl_per_response(logp, ref, mask)
    return {
        "score": scores,
        "rewards": shaped_rewards(scores, logp, ref, mask, v["beta"]),
        "kl_per_token": fill(kl.k1(logp - ref), mask),
        "kl_sum_per_seq": per_response,
        "kl_mean_over_seqs_of_sum": per_response.mean(),
        "kl_token_mean": masked_mean(logp - ref, mask),
        "no_eos_subtract": final_scores(centred, ended, missing_eos="subtract", **rule),
    }


def gae_masked(v, t):
    rewards, values, mask = t(v["rewards"]), t(v["values"]), t(v["mask"], torch.bool)

    def run(gamma, lam, bootstrap=None):
        return gae(rewards, values, mask, gamma=gamma, lam=lam, bootstrap=bootstrap)

    settings = {"gamma1_lam095": (1, 0.95), "gamma099_lam09": (0.99, 0.9), "gamma1_lam1": (1, 1)}
    both = {name: dict(zip(("adv", "ret"), run(*s), strict=True)) for name, s in settings.items()}
    return {
        **both,
        "gamma1_lam095_bootstrap_row2_0p7": {"adv": run(1, 0.95, t([0, 0, 0.7]))[0]},
        "whitened_gamma1_lam095": masked_whiten(both["gamma1_lam095"]["adv"], mask),
    }


def gae_trl_position_bug(v, t):
    """The row is one slot wider than the response, and that slot holds the value that must not be read."""
    mask, zeros = t([[1, 1, 1, 0]], torch.bool), t([[0.0] * 4])
    rewards = shaped_rewards(t([v["score"]]), zeros, zeros, mask, v["kl"])
    values = t([[*v["values"], v["value_after_eos"]]])
    return {"correct_adv": gae(rewards, values, mask, gamma=v["gamma"], lam=v["lam"])[0][0, :3]}


def _policy(v, t, **clip):
    new, mask = t(v["new_logp"]).requires_grad_(), t(v["mask"], torch.bool)
    result = policy_loss(new, t(v["old_logp"]), t(v["adv"]), mask, **clip)
    total, n = aggregate(result.losses, mask)
    (total / n).backward()
    means = {name: value / n for name, value in result.monitors().items()}
    return {
        "loss": total / n,
        "per_token": result.losses,
        "grad_logp_token_mean": new.grad,
        "clipfrac": means["clipfrac"],
        "clipfrac_lower": means["clipfrac_lower"],
        "ratio_mean": means["ratio"],
        "approx_kl_k1": means["kl_k1"],
        "approx_kl_k2": means["kl_k2"],
        "approx_kl_k3": means["kl_k3"],
    }


def ppo_policy_loss(v, t):
    out, mask = _policy(v, t, clip_low=v["clip"]), t(v["mask"], torch.bool)
    by_mode = {}
    for mode in AGGREGATIONS:
        total, n = aggregate(out["per_token"], mask, mode, v["max_len"])
        by_mode[mode] = total / n
    return {**out, "loss_by_mode": by_mode}


def ppo_value_loss(v, t):
    mask, values = t(v["mask"], torch.bool), t(v["v"]).requires_grad_()
    clipped = value_loss(values, t(v["v_old"]), t(v["ret"]), mask, clip=v["clip"])
    free = value_loss(values, t(v["v_old"]), t(v["ret"]), mask, clip=None)
    loss = masked_mean(clipped.losses, mask)
    loss.backward()
    return {
        "clipped": {
            "loss": loss,
            "clipfrac": masked_mean(clipped.clipped.to(loss.dtype), mask),
            "grad_v_token_mean": values.grad,
        },
        "unclipped_loss": masked_mean(free.losses, mask),
    }


def kl_estimators(v, t):
    ratio = t(v["logp_minus_ref"])
    return {"k1": kl.k1(ratio), "k2": kl.k2(ratio), "k3": kl.k3(ratio)}


def kl_expectation_and_gradient(v, t):
    ref = t(v["ref"])

    def gradient(loss_of):
        theta = t(v["theta"]).requires_grad_()
        logp = theta.log_softmax(-1)
        loss_of(logp, logp.detach().exp()).backward()
        return theta.grad

    def in_reward(k):
        return gradient(lambda logp, p: (p * k(logp.detach() - ref.log()) * logp).sum())

    def as_loss(k):
        return gradient(lambda logp, p: (p * k(logp - ref.log())).sum())

    logp = t(v["theta"]).log_softmax(-1)
    p, ratio = logp.exp(), logp - ref.log()
    means = {k: (p * getattr(kl, k)(ratio)).sum() for k in ("k1", "k2", "k3")}
    return {
        "pi": p,
        "kl_pi_ref": means["k1"],
        "kl_ref_pi": (ref * kl.k1(-ratio)).sum(),
        **{f"E_{k}": mean for k, mean in means.items()},
        **{f"var_{k}": (p * (getattr(kl, k)(ratio) - mean).square()).sum() for k, mean in means.items()},
        "grad_true_reverse_kl": gradient(lambda logp, p: (logp.exp() * kl.k1(logp - ref.log())).sum()),
        "grad_true_forward_kl": gradient(lambda logp, p: (ref * kl.k1(ref.log() - logp)).sum()),
        "grad_k1_in_reward": in_reward(kl.k1),
        "grad_k1_as_loss": as_loss(kl.k1),
        "grad_k2_as_loss": as_loss(kl.k2),
        "grad_k3_as_loss": as_loss(kl.k3),
        "grad_k3_times_differentiable_ratio_as_loss": gradient(
            lambda logp, p: (p * (logp - logp.detach()).exp() * kl.k3(logp - ref.log())).sum()
        ),
        "grad_k2_in_reward": in_reward(kl.k2),
        "grad_k3_in_reward": in_reward(kl.k3),
    }


def kl_bandit_optimum(v, t):
    """Where exact ascent ends with our rewards and our loss, and where k3 as a loss would end."""
    reward, ref, beta = t(v["reward"]), t(v["ref"]), v["beta"]
    mask = torch.ones(3, 1, dtype=torch.bool)

    def ours(logp):
        frozen = logp.detach()[:, None]
        advantages = shaped_rewards(reward, frozen, ref.log()[:, None], mask, beta)
        return policy_loss(logp[:, None], frozen, advantages, clip_low=0.2).losses[:, 0]

    def k3_as_loss(logp):
        return policy_loss(logp, logp.detach(), reward, clip_low=0.2).losses + beta * kl.k3(logp - ref.log())

    def optimum(losses_of):
        theta = torch.zeros_like(reward).requires_grad_()
        for _ in range(400):
            logp = theta.log_softmax(-1)
            (slope,) = torch.autograd.grad((logp.detach().exp() * losses_of(logp)).sum(), theta)
            theta = (theta - 4 * slope).detach().requires_grad_()
        return theta.detach().log_softmax(-1)

    def objective(logp):
        divergence = (logp.exp() * kl.k1(logp - ref.log())).sum()
        return (logp.exp() * reward).sum() - beta * divergence, divergence

    best, other = optimum(ours), optimum(k3_as_loss)
    return {
        "pi_reverse_kl": best.exp(),
        "J": objective(best)[0],
        "log_partition_J": objective(best)[0],
        "kl": objective(best)[1],
        "mean_reward": (best.exp() * reward).sum(),
        "pi_k3_as_loss": other.exp(),
        "kl_of_k3_policy": objective(other)[1],
        "J_of_k3_policy": objective(other)[0],
    }


def adaptive_kl_controller(v, t):
    control, betas = kl.controller("adaptive", v["init"], v["target"], v["horizon"]), []
    for measured in v["kl"]:
        control.update(measured, v["n_steps"])
        betas.append(control.coef)
    return {"beta": betas}


def group_advantages(v, t):
    rewards, eps = t(v["rewards"]), v["eps"]
    return {
        "grpo_ddof1": grpo(rewards, eps=eps, ddof=1),
        "grpo_ddof0": grpo(rewards, eps=eps, ddof=0),
        "dr_grpo": dr_grpo(rewards),
        "rloo": rloo(rewards),
    }


def reinforce_pp_(v, t):
    advantages, returns = reinforce_pp(t(v["rewards"]), t(v["mask"], torch.bool), gamma=v["gamma"])
    return {"returns": returns, "adv": advantages}


def sequence_ratios(v, t):
    new, old, mask = t(v["new_logp"]), t(v["old_logp"]), t(v["mask"], torch.bool)
    return {
        "seq_sum_ratio": sequence_ratio(new, old, mask),
        "gspo_ratio": sequence_ratio(new, old, mask, mean=True),
    }


def truncated_is_weights(v, t):
    old, sampler, mask = t(v["trainer_old_logp"]), t(v["sampler_logp"]), t(v["mask"], torch.bool)
    return {
        "weights": truncated_weights(old, sampler, mask, cap=v["cap"]),
        "mean_abs_diff": masked_mean((old - sampler).abs(), mask),
    }


def sequence_bandit_optimum(v, t):
    """Exact ascent of the whole chain: missing EOS, shaping, GAE, policy loss, over the 15 enumerated responses.

    Natural gradient (divided by how often a token is said) with step 1/beta: soft policy iteration, exact once every
    depth was visited, so a handful of steps reach the optimum to the last digit.
    """
    task = bandit.task(t(0.0).dtype)
    ref = t(v["ref"]).log().expand(7, 3)
    scores = final_scores(task.gold, task.ended, missing_eos_score=v["no_eos_reward"])

    def chain(policy):
        """(surrogate loss, J, E[r], KL, p) of a [7,3] policy."""
        logp = bandit.logprobs(task, policy)
        p = bandit.probabilities(task, policy).detach()
        frozen, ref_logp = logp.detach(), bandit.logprobs(task, ref)
        rewards = shaped_rewards(scores, frozen, ref_logp, task.mask, v["beta"])
        advantages, returns = gae(rewards, torch.zeros_like(rewards), task.mask, gamma=1.0, lam=1.0)
        loss = (policy_loss(logp, frozen, advantages, task.mask, clip_low=0.2).losses.sum(-1) * p).sum()
        divergence = (p * kl.kl_per_response(frozen, ref_logp, task.mask)).sum()
        return loss, (p * returns[:, 0]).sum(), (p * scores).sum(), divergence, p

    policy = ref.clone().requires_grad_()
    j_ref = chain(policy)[1]
    for _ in range(6):
        loss, *_, p = chain(policy)
        (slope,) = torch.autograd.grad(loss, policy)
        said = p.new_zeros(7, 3).index_put(
            (task.states[task.mask], task.ids[task.mask]), p[:, None].expand(15, 3)[task.mask], accumulate=True
        )
        policy = (policy - slope / said / v["beta"]).detach().requires_grad_()
    _, j, reward, divergence, p = chain(policy)
    return {
        "n_sequences": len(p),
        "J_star": j,
        "E_reward": reward,
        "KL": divergence,
        "p_ended": p[task.ended].sum(),
        "J_ref": j_ref,
        "p_star": dict(zip(bandit.NAMES, p, strict=True)),
    }


CASES = {
    "shaped_rewards": shaped_rewards_,
    "gae_masked": gae_masked,
    "gae_trl_position_bug": gae_trl_position_bug,
    "ppo_policy_loss": ppo_policy_loss,
    "ppo_policy_loss_dual_clip": lambda v, t: _policy(v, t, clip_low=v["clip"], dual_clip=v["dual"]),
    "ppo_policy_loss_clip_higher": lambda v, t: _policy(v, t, clip_low=v["lo"], clip_high=v["hi"]),
    "ppo_first_minibatch_identity": lambda v, t: _policy(v, t, clip_low=v["clip"]),
    "ppo_value_loss": ppo_value_loss,
    "kl_estimators": kl_estimators,
    "kl_expectation_and_gradient": kl_expectation_and_gradient,
    "kl_bandit_optimum": kl_bandit_optimum,
    "adaptive_kl_controller": adaptive_kl_controller,
    "best_of_n_kl": lambda v, t: {"kl": [kl.best_of_n_kl(n) for n in v["n"]]},
    "group_advantages": group_advantages,
    "reinforce_pp": reinforce_pp_,
    "sequence_ratios": sequence_ratios,
    "truncated_is_weights": truncated_is_weights,
    "sequence_bandit_optimum": sequence_bandit_optimum,
}
