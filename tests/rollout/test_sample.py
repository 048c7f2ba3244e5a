"""Decoding against plain forwards and against the distribution it must draw from."""

import gc
import weakref

import pytest
import torch

from llmtrain.data.pack import after, pack
from llmtrain.errors import TrainingError
from llmtrain.models import causal
from llmtrain.models.attention import PACKED
from llmtrain.rollout import sample as sampler
from llmtrain.rollout.sample import generate, inverse_cdf

EOS = 1


def uniforms(rows, tokens=20, seed=0):
    return torch.rand(rows, tokens, generator=torch.Generator().manual_seed(seed))


def sample(model, prompts, draws, **options):
    given = dict(max_new_tokens=draws.shape[1], temperature=0.9, eos_id=EOS, uniforms=draws) | options
    return generate(model, prompts, **given)


@torch.no_grad()
def next_logits(model, ids):
    """[V] of the token behind `ids`, by a forward of plain transformers without cache or padding."""
    model.set_attn_implementation("eager")
    logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    model.set_attn_implementation(PACKED)
    return logits


def by_hand(model, prompt, draws, temperature):
    """One row, one token at a time, everything computed anew."""
    ids, written = list(prompt), []
    for draw in draws.tolist():
        logits = next_logits(model, ids)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            cumulative = (logits.double() / temperature).softmax(-1).cumsum(-1)
            token = int((cumulative <= draw).sum())
        ids.append(token)
        written.append(token)
        if token == EOS:
            break
    return written


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_rows_are_what_decoding_one_by_one_gives(model, prompts, temperature):
    draws = uniforms(len(prompts))
    given = draws if temperature else None
    done = generate(
        model, prompts, max_new_tokens=20, temperature=temperature, eos_id=EOS, uniforms=given, batch_rows=5
    )
    for prompt, draw, completion in zip(prompts, draws, done, strict=True):
        assert completion.ids == by_hand(model, prompt, draw, temperature)


def test_an_answer_does_not_depend_on_its_batch(model, prompts):
    draws = uniforms(len(prompts))
    together = sample(model, prompts, draws)
    in_threes = sample(model, prompts, draws, batch_rows=3)
    alone = [sample(model, [p], d[None])[0] for p, d in zip(prompts, draws, strict=True)]
    turned = sample(model, prompts[::-1], draws.flip(0))[::-1]
    assert together == in_threes == alone == turned


def test_prompts_wait_for_slots_and_come_in_as_rows_end(model, prompts, monkeypatch):
    """Sixteen rows through five slots: never more, and fewer steps than batches of five would take."""
    used: list[int] = []
    forward = sampler._Rows._forward
    monkeypatch.setattr(sampler._Rows, "_forward", lambda self, n, t: (used.append(n), forward(self, n, t))[1])
    asked, draws = [*prompts, *prompts[::-1]], uniforms(16, 30)
    done = sample(model, asked, draws, batch_rows=5)
    lengths = [len(c.ids) for c in done]
    batches = sum(max(lengths[i : i + 5]) - 1 for i in range(0, 16, 5))
    assert max(used) == 5 and len(used) < batches
    assert sum(used) == sum(lengths) - 16  # a prompt's own forward gives the first token: no row is computed in vain
    assert done == sample(model, asked, draws, batch_rows=16)


def test_long_prompts_are_read_in_parts(model, prompts, monkeypatch):
    draws = uniforms(len(prompts))
    at_once = sample(model, prompts, draws)
    monkeypatch.setattr(sampler, "PREFILL", 10)
    assert sample(model, prompts, draws) == at_once


def test_log_probabilities_can_be_trained_on(model, prompts):
    said = sample(model, prompts, uniforms(len(prompts)))[0].logp
    weight = torch.ones_like(said, requires_grad=True)
    (weight * said).sum().backward()  # tensors of inference mode may not be kept for a backward pass
    assert torch.equal(weight.grad, said)


def test_eos_stops_a_row_and_is_kept(model, prompts):
    done = sample(model, prompts * 8, uniforms(64, 30))
    assert any(c.ended for c in done)
    assert any(not c.ended for c in done)
    for completion in done:
        assert completion.ended == (completion.ids[-1] == EOS)
        assert EOS not in completion.ids[:-1]
        assert completion.ended or len(completion.ids) == 30


def test_an_eos_in_the_prompt_ends_nothing(model):
    (completion,) = generate(model, [[5, EOS, 7]], max_new_tokens=3, temperature=0.0, eos_id=EOS)
    assert completion.ids == by_hand(model, [5, EOS, 7], torch.zeros(3), 0.0)


def test_f30_sampled_ids_are_as_likely_as_they_are_scored(model, prompts):
    """The training forward puts each draw inside the sampled token's interval of its cumulative distribution."""
    draws, temperature = uniforms(len(prompts)), 0.9
    done = sample(model, prompts, draws)
    row = pack([p + c.ids for p, c in zip(prompts, done, strict=True)])
    targets = after(row, [len(p) for p in prompts])
    assert targets.ids.tolist() == [token for c in done for token in c.ids]
    with torch.no_grad():
        logits = causal.logits_at(model, causal.hidden(model, row), targets.at)
    upper = (logits.double() / temperature).softmax(-1).cumsum(-1).gather(1, targets.ids[:, None]).squeeze(1)
    logp = causal.logprobs(model, row, targets, temperature).detach().double()
    drawn = torch.cat([d[: len(c.ids)] for d, c in zip(draws, done, strict=True)]).double()
    assert ((drawn < upper + 1e-5) & (drawn > upper - logp.exp() - 1e-5)).all()


def test_inverse_cdf_never_draws_the_impossible():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).expand(4, -1)
    draws = torch.tensor([0.0, 0.4999, 0.5, 1 - 2**-24])
    assert inverse_cdf(logits, 1.0, draws)[0].tolist() == [1, 1, 3, 3]
    assert inverse_cdf(logits, 1.0, torch.ones(4))[0].tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_numbers_stop_the_run(model, temperature):
    with torch.no_grad():
        model.get_output_embeddings().weight[3, 0] = torch.nan
    draws = uniforms(1) if temperature else None
    with pytest.raises(TrainingError, match="not finite"):
        generate(model, [[5, 6]], max_new_tokens=4, temperature=temperature, eos_id=EOS, uniforms=draws)


def test_should_stop_is_asked_at_every_token_and_leaves_the_model_as_it_was(model, prompts):
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    model.train()
    with pytest.raises(KeyboardInterrupt):
        generate(model, prompts, max_new_tokens=9, temperature=0.0, eos_id=99, should_stop=stop)
    assert len(calls) == 3
    assert model.training
    assert model.config._attn_implementation == PACKED


def test_no_prompts_give_no_answers(model):
    assert generate(model, [], max_new_tokens=3, temperature=0.0, eos_id=EOS) == []


def test_told_hears_every_token_of_every_prompt_as_it_comes(model, prompts):
    heard = {n: [] for n in range(len(prompts))}
    done = sample(
        model, prompts, uniforms(len(prompts)), batch_rows=3, told=lambda prompt, token: heard[prompt].append(token)
    )
    assert [heard[n] for n in range(len(prompts))] == [completion.ids for completion in done]


def test_the_cache_goes_when_the_last_answer_is_written(model, prompts, monkeypatch):
    """At once: a rollout's cache must not stand beside the update that follows it."""
    caches = []

    class Watched(sampler.Cache):
        def __init__(self, *given):
            super().__init__(*given)
            caches.append(weakref.ref(self))

    monkeypatch.setattr(sampler, "Cache", Watched)
    gc.disable()
    try:
        sample(model, prompts, uniforms(len(prompts)))
    finally:
        gc.enable()
    assert caches and not any(cache() for cache in caches)
