"""The gate of PPO (correctness F13): the stage's learner against the enumerated optimum of a game, on four seeds.

    python -m bench.gates

A table of logits and a transformer of one layer, both through the sampler, the judge, the KL in the reward, GAE and the
clipped updates of `llmtrain ppo`. The suite runs one seed of the table.
"""

import time

import torch

from tests.invariants import games

OBJECTIVE, REWARD, KL = 0.321467, 1.259677, 1.876420  # J*, E[r]*, KL* of the vector sequence_bandit_optimum
VARIATION, DISTANCE = 0.006, 0.005  # what a gate allows
PLAYERS = {"table": (False, 60), "one layer": (True, 160)}  # deep, rounds


def main() -> int:
    """Print the table; 1 when a gate is not passed."""
    torch.set_num_threads(1)
    print(f"{'player':10} seed rounds   variation   J - J*     E[r] - *   KL - *     CPU s  gate")
    failed = 0
    for name, (deep, rounds) in PLAYERS.items():
        for seed in range(4):
            began = time.process_time()
            r = games.sequence_gate(seed, rounds, deep=deep)
            passed = r.variation < VARIATION and abs(r.objective - OBJECTIVE) < DISTANCE
            failed += not passed
            print(
                f"{name:10} {seed:4} {rounds:6} {r.variation:11.5f} {r.objective - OBJECTIVE:10.6f} "
                f"{r.reward - REWARD:10.5f} {r.kl - KL:9.5f} {time.process_time() - began:8.1f}  "
                f"{'passed' if passed else 'NOT PASSED'}",
                flush=True,
            )
    print(f"{8 - failed} of 8 within variation {VARIATION} and |J - J*| {DISTANCE}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
