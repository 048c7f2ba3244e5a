"""The head of a language model and its loss, forward and backward: whole logits beside chunks of them.

    python -m bench.head [--threads 1] [--rounds 5] [--width 256] [--mib 32] [--vocabularies 1024 4096 16384 50257]

whole: token_logprobs of all logits. summed: the loss of pretrain and sft, gradients made with the logits. later: the
log-probabilities of ppo and dpo, whose backward makes the logits again. Ratios are of CPU seconds to whole's; memory
is what a call adds to the resident set at its worst moment, by the kernel's count.
"""

import argparse
import ctypes
import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench.measure import interleaved
from llmtrain.objectives.linear import linear_logprobs, summed_nll
from llmtrain.objectives.logprobs import token_logprobs

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def step(loss: Loss, x: Tensor, w: Tensor, ids: Tensor) -> None:
    x.grad = w.grad = None
    loss(x, w, ids).backward()


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def added(call: Callable[[], None]) -> float:
    """MiB."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    call()
    return (resident("VmHWM") - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("threads", 1), ("rounds", 5), ("width", 256), ("mib", 32)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[1024, 4096, 16384, 50257])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(True)
    print("| vocabulary | tokens | whole, CPU s | summed | later | MiB: whole | summed | later | rounds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for vocab in given.vocabularies:
        tokens, rows = min(4096, 2**26 // vocab), max(1, given.mib * 2**20 // (4 * vocab))
        draws = torch.Generator().manual_seed(0)
        x = torch.randn(tokens, given.width, generator=draws, requires_grad=True)
        w = (torch.randn(vocab, given.width, generator=draws) / given.width**0.5).requires_grad_()
        ids = torch.randint(0, vocab, (tokens,), generator=draws)
        losses: dict[str, Loss] = {
            "whole": lambda x, w, ids: -token_logprobs(x @ w.t(), ids).sum(),
            "summed": lambda x, w, ids, c=rows: summed_nll(x, w, ids, c),
            "later": lambda x, w, ids, c=rows: -linear_logprobs(x, w, ids, c).sum(),
        }
        calls = {name: partial(step, loss, x, w, ids) for name, loss in losses.items()}
        found = interleaved(calls, given.rounds)
        ratios = [f"{found.ratio(name, 'whole', cpu=True):.2f}x" for name in ("summed", "later")]
        memory = [f"{added(call):.0f}" for call in calls.values()]
        whole = sorted(r["whole"].cpu for r in found.rounds)[len(found.rounds) // 2]
        print(f"| {vocab} | {tokens} | {whole:.3f} | {' | '.join(ratios + memory)} | {found.note()} |", flush=True)


if __name__ == "__main__":
    main()
