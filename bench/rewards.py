"""Training a reward model: prompts shared by their answers, prompts repeated, and pairs padded as Hugging Face pads.

    python -m bench.rewards [--data FILE] [--threads 2] [--rounds 5] [--answers 2 4 9] [--layers 4 --width 256]

shared: the learner of `llmtrain reward`. apart: the same with the prompt repeated for each answer. padded: what a pair
trainer does, an example is one pair, chosen and rejected of 8 pairs are padded to the longest of them and go through a
sequence classifier of transformers in one forward; a ranking of K answers is K(K-1)/2 examples. All three take AdamW
steps on the same model and pairs of the same prompts; what counts is pairs per second. `tokens`: how many times more
tokens the prompts repeated are. `gradient`: how far that of a first step is from the padded one's.

--data: a file of preferences; without it the microworld. Beyond the answers a row has, it gets those of other rows.
"""

import argparse
import math
import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial
from itertools import combinations
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedTokenizerBase

from bench.measure import interleaved
from llmtrain.data.microworld import rows as microworld
from llmtrain.data.microworld.world import World
from llmtrain.data.pack import Packed, pack
from llmtrain.data.records import Kind, Ranking
from llmtrain.data.sources import Source, read
from llmtrain.data.split import Split
from llmtrain.loop.update import Totals, update
from llmtrain.models import causal, scalar
from llmtrain.run.session import Session
from llmtrain.stages import inputs, rankings, reward, setup
from llmtrain.text import tokenizers
from llmtrain.text.template import encode_answers, encode_prompts
from tests.invariants import lab

PAIRS = 8  # examples of a padded batch, TRL's per_device_train_batch_size
EXAMPLES = 32  # pairs of a round of the padded side; ours takes all pairs of its prompts
PROMPTS = 16  # of a step of ours: conf/reward.yaml, batch.rows
LONGEST = {True: 384, False: 128}  # tokens of prompt and answer, files or microworld: the recipes real and tiny

Row = tuple[list[int], list[list[int]]]  # a prompt and its answers, best first
Pair = tuple[list[int], list[int]]  # chosen and rejected, each behind the prompt


def rows(path: str | None, answers: int, count: int) -> tuple[list[Row], PreTrainedTokenizerBase]:
    """Rankings as tokens, each with as many answers as asked."""
    if path:
        found = read([path], Kind.ranking, split="train", text_column=None, on_bad_row="skip", limit=None).records
        texts = [(r.prompt, list(r.responses)) for r in found if isinstance(r, Ranking)]
    else:
        made = microworld.prompts(World(0), "train", 4 * count, 0)
        texts = [(p.messages, [p.meta["good"]]) for p in made]
    draw = random.Random(0)
    draw.shuffle(texts)
    said = [text for _, responses in texts for text in responses]
    tokenizer = tokenizers.train_bpe([m.content for prompt, _ in texts for m in prompt] + said, 4096 if path else 1024)
    kept: list[Row] = []
    prompts = encode_prompts(tokenizer, [prompt for prompt, _ in texts])
    for prompt, (_, own) in zip(prompts, texts, strict=True):
        row = encode_answers(tokenizer, [*own, *draw.sample(said, answers)][:answers])
        if len(prompt) + max(map(len, row)) <= LONGEST[path is not None]:
            kept.append((prompt, row))
    return kept[:count], tokenizer


def examples(made: list[Row]) -> Iterator[Pair]:
    """Every pair of every ranking."""
    for prompt, answers in made:
        for better, worse in combinations(answers, 2):
            yield prompt + better, prompt + worse


def learner(asked: argparse.Namespace, made: list[Row], tokenizer: PreTrainedTokenizerBase) -> reward.Judging:
    """The stage's own, with a fresh model of seed 0."""
    base = causal.build(
        asked.architecture, layers=asked.layers, width=asked.width, heads=max(1, asked.width // 64),
        ffn_width=math.ceil(asked.width * (8 / 3 if asked.architecture == "llama" else 4)), context=512,
        vocab_size=len(tokenizer), tie_embeddings=False, embedding_std=0.5, init_std=0.0, dropout=0.0,
        eos_id=tokenizer.eos_token_id, pad_id=tokenizer.pad_token_id, seed=0,
    )  # fmt: skip
    table = lab.table(
        prompt=[prompt for prompt, _ in made],
        responses=[[token for answer in answers for token in answer] for _, answers in made],
        response_lengths=[[len(a) for a in answers] for _, answers in made],
        ranks=[list(range(len(answers))) for _, answers in made],
        row=[[i] for i in range(len(made))],
    )
    every, session = np.arange(len(made)), cast(Session, lab.Alone())
    source = cast(Source, SimpleNamespace(description="the rankings of this bench"))
    config = lab.settings("reward", batch={"rows": PROMPTS, "micro_tokens": 4096})
    given = inputs.Rows(source, table, Split(every, every, ""), {})
    return reward.Judging(config, scalar.from_causal(base, seed=0).train(), tokenizer, given, None, session)


def repeated(prompts: Sequence[Any], answers: Sequence[Any]) -> Packed:
    """In place of pack.behind: every answer behind a prompt of its own."""
    return pack([np.concatenate([p, a]) for p, a in zip(prompts, answers, strict=True)])


def ours(judging: reward.Judging, optimizer: Optimizer, *, shared: bool = True) -> None:
    """An epoch of the stage, an optimizer step for each 16 prompts."""
    with patch.object(rankings, "behind", rankings.behind if shared else repeated):
        for step in range(judging.order.steps_per_epoch):
            for window in judging.round(step):
                update(judging, optimizer, window, 1.0, judging.session.mesh, Totals())


def theirs(model: nn.Module, optimizer: Optimizer, pairs: list[Pair], pad: int) -> None:
    """The same pairs, an optimizer step for each 8 of them."""
    for start in range(0, len(pairs), PAIRS):
        padded(model, pairs[start : start + PAIRS], pad).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def padded(model: nn.Module, pairs: list[Pair], pad: int) -> Tensor:
    """Mean loss of pairs: 2B rows, all chosen and then all rejected, padded to the longest, in one forward."""
    sequences = [chosen for chosen, _ in pairs] + [rejected for _, rejected in pairs]
    width = max(map(len, sequences))
    ids = torch.tensor([s + [pad] * (width - len(s)) for s in sequences])
    seen = torch.tensor([[1] * len(s) + [0] * (width - len(s)) for s in sequences])
    chosen, rejected = model(input_ids=ids, attention_mask=seen, use_cache=False).logits.squeeze(-1).chunk(2)
    return -F.logsigmoid(chosen - rejected).mean()


def differs(judging: reward.Judging, model: nn.Module, made: list[Row], pad: int) -> float:
    """The largest difference of a gradient of the first step to that of the padded rows, to the largest gradient."""
    window = judging.rankings.batches(range(PROMPTS))
    items = sum(batch.items for batch in window)
    for batch in window:
        (judging.loss(batch).total / items).backward()
    pairs = list(examples(made[:PROMPTS]))
    for start in range(0, len(pairs), PAIRS):
        some = pairs[start : start + PAIRS]
        (padded(model, some, pad) * len(some) / len(pairs)).backward()
    both = [(a.grad, b.grad) for a, b in zip(judging.model.parameters(), model.parameters(), strict=True)]
    found = [(float((a - b).abs().max()), float(b.abs().max())) for a, b in both if a is not None and b is not None]
    judging.model.zero_grad()
    model.zero_grad()
    return max(gap for gap, _ in found) / max(size for _, size in found)


def measured(asked: argparse.Namespace, k: int) -> str:
    """A line of the table."""
    made, tokenizer = rows(asked.data, k, PROMPTS * max(1, round(4 / k)))
    pairs = list(examples(made))
    random.Random(1).shuffle(pairs)
    shared, apart = learner(asked, made, tokenizer), learner(asked, made, tokenizer)
    prompts = apart.rankings.table.lengths("prompt")
    apart.rankings.cost = apart.rankings.cost + prompts * (k - 1)
    classifier = deepcopy(shared.model.model)
    classifier.set_attn_implementation("sdpa")
    gap = differs(shared, classifier, made, tokenizer.pad_token_id)
    optimizers = [setup.optimizer_of(shared.config, m) for m in (shared.model, apart.model, classifier)]
    some = pairs[:EXAMPLES]
    found = interleaved(
        {
            "padded": partial(theirs, classifier, optimizers[2], some, tokenizer.pad_token_id),
            "apart": partial(ours, apart, optimizers[1], shared=False),
            "shared": partial(ours, shared, optimizers[0]),
        },
        asked.rounds,
        asked.most,
    )
    done = {"padded": len(some), "apart": len(pairs), "shared": len(pairs)}
    speeds = " ".join(f"{n / found.seconds(side):8.1f}" for side, n in done.items())
    ratios = " ".join(
        f"{len(pairs) / done[side] * found.ratio('shared', side, cpu=cpu):6.2f}"
        for side in ("padded", "apart")
        for cpu in (False, True)
    )
    fewer = apart.rankings.cost.sum() / shared.rankings.cost.sum()
    return f"{k:2} {prompts.mean():6.0f} {fewer:6.2f} {speeds} {ratios} {gap:8.1e}  {found.note()}"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a file of preferences; none: the microworld")
    parser.add_argument("--answers", type=int, nargs="+", default=[2, 4, 9])
    parser.add_argument("--architecture", choices=("llama", "gpt2"), default="llama")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="clean rounds")
    parser.add_argument("--most", type=int, default=15, help="rounds in all, where few are clean")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{asked.architecture} {asked.layers}L/{asked.width}, {asked.threads} threads, torch {torch.__version__}")
    print("            times     pairs per second           shared to padded, apart")
    print(" K prompt tokens   padded    apart   shared   wall    CPU   wall    CPU gradient  rounds")
    for k in asked.answers:
        print(measured(asked, k), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
