"""Answers of set lengths, and how transformers' generate writes them. Nothing of llmtrain here: peers import it."""

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation import StoppingCriteria, StoppingCriteriaList


class Lengths(StoppingCriteria):
    """Ends row i when it has lengths[i] tokens behind a prompt of `prompt` tokens."""

    def __init__(self, prompt: int, lengths: Tensor):
        self.prompt, self.lengths = prompt, lengths

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        return self.lengths <= input_ids.shape[1] - self.prompt


def workload(
    rows: int, prompts: tuple[int, int], answer: int | None, vocab: int = 1000
) -> tuple[list[list[int]], Tensor]:
    """Prompts with from..to tokens, and how many each answer has: for None 52 on average, 128 at most."""
    draw = torch.Generator().manual_seed(0)
    asked = torch.randint(prompts[0], prompts[1] + 1, (rows,), generator=draw)
    texts = [torch.randint(2, vocab, (int(n),), generator=draw).tolist() for n in asked]
    if answer is not None:
        return texts, torch.full((rows,), answer)
    middles = (torch.arange(rows) + 0.5) / rows  # an exponential with mean 58, cut at 128: mean 52
    lengths = (-58 * (1 - middles).log()).ceil().clamp(1, 128).long()
    return texts, lengths[torch.randperm(rows, generator=draw)]


def ending(draws: Tensor, lengths: Tensor) -> Tensor:
    """[R, T] draws for an inverse CDF under which row i ends with token 0 as its token lengths[i], and never before."""
    draws = draws * 0.9 + 0.1
    draws[torch.arange(len(lengths)), lengths - 1] = 0.0
    return draws


def left_padded(prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
    """[R, P] ids and mask of prompts that end in the same column."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    seen = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    return ids, seen


def generated(
    model: PreTrainedModel,
    ids: Tensor,
    seen: Tensor,
    lengths: Tensor,
    *,
    cache: str | None = None,
    logits: bool = False,
):
    """What generate writes behind left-padded prompts, sampling from the plain softmax; row i ends by lengths[i]."""
    how = GenerationConfig(
        max_new_tokens=int(lengths.max()), do_sample=True, top_k=0, top_p=1.0, pad_token_id=0, eos_token_id=None,
        cache_implementation=cache, return_dict_in_generate=True, output_logits=logits,
    )  # fmt: skip
    model.generation_config.eos_token_id = None  # generate takes from there what `how` leaves open
    rules = StoppingCriteriaList([Lengths(ids.shape[1], lengths)])
    out = model.generate(ids, attention_mask=seen, generation_config=how, stopping_criteria=rules)
    assert out.sequences.shape[1] == ids.shape[1] + int(lengths.max())
    return out
