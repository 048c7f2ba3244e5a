"""Invariants of what the models compute: alone or beside others, padded for the sampler or packed for training."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPTNeoXConfig, OPTConfig, PreTrainedModel

from llmtrain.data.pack import after, behind, pack
from llmtrain.models import causal, scalar
from llmtrain.rollout.judge import RewardJudge
from llmtrain.rollout.sample import Completion, generate
from llmtrain.stages import policy
from tests.invariants import games, lab

both = pytest.mark.parametrize("architecture", lab.ARCHITECTURES)
loadable = pytest.mark.parametrize("architecture", [*lab.ARCHITECTURES, "gpt_neox", "opt"])
NEOX = GPTNeoXConfig(
    vocab_size=23, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=48, hidden_dropout=0.3, attention_dropout=0.3, classifier_dropout=0.3,
)  # fmt: skip
OPT = OPTConfig(
    vocab_size=23, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=24, word_embed_proj_dim=16,
    max_position_embeddings=48, bos_token_id=None, eos_token_id=1, dropout=0.3, attention_dropout=0.3, layerdrop=0.3,
)  # fmt: skip


def saved(architecture: str, folder: Path) -> Path:
    """A directory as other programs write it, dropout in its configuration."""
    if architecture in lab.ARCHITECTURES:
        causal.save(lab.model(architecture, dropout=0.3), lab.words(), folder)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(NEOX if architecture == "gpt_neox" else OPT).save_pretrained(folder)
    return folder


def losses(model: PreTrainedModel, rows: list[list[int]]) -> Tensor:
    """[tokens but the first of each] losses, packed."""
    row = pack(rows)
    return -causal.logprobs(model, row, after(row, [1] * len(rows)))


def gradient(model: PreTrainedModel, loss: Tensor) -> Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@both
def test_F6_sampler_with_a_cache_says_what_the_training_forward_says(architecture):
    """The sampler decodes in slots, which rows leave and enter; training packs whole rows."""
    model, tau = lab.model(architecture), 0.8
    draws = torch.rand(len(lab.PROMPTS), 12, generator=torch.Generator().manual_seed(0))
    said = generate(
        model, lab.PROMPTS, max_new_tokens=12, temperature=tau, eos_id=lab.EOS, uniforms=draws, batch_rows=3
    )
    assert 0 < sum(c.ended for c in said) < len(said)
    row = pack([p + c.ids for p, c in zip(lab.PROMPTS, said, strict=True)])
    scored = causal.logprobs(model, row, after(row, [len(p) for p in lab.PROMPTS]), tau)
    torch.testing.assert_close(torch.cat([c.logp for c in said]), scored, atol=1e-5, rtol=0)


@both
@pytest.mark.parametrize("pad", [lab.PAD, lab.EOS], ids=["pad is pad", "pad is eos"])
def test_F7_score_is_read_at_the_stored_length_whoever_stands_beside(architecture, pad):
    """Padding and end tokens inside the prompts and behind the answers must not move the place."""
    scorer = scalar.from_causal(lab.model(architecture, pad_id=pad), seed=0).eval()
    prompts = [[*p[:2], lab.EOS, *p[2:], lab.PAD] for p in lab.PROMPTS]
    answers = [Completion([5 + i, *[lab.EOS] * (i % 3)], i % 3 > 0) for i in range(len(prompts))]
    rows = [p + a.ids for p, a in zip(prompts, answers, strict=True)]
    with torch.no_grad():
        at_the_end = torch.stack([scorer(pack([row]))[len(row) - 1] for row in rows])
    for micro_tokens in (1, 40, 10_000):  # alone, some together, all together
        together = RewardJudge(scorer, micro_tokens).score([], prompts, answers)
        turned = RewardJudge(scorer, micro_tokens).score([], prompts[::-1], answers[::-1]).flip(0)
        torch.testing.assert_close(together, at_the_end, atol=1e-5, rtol=0)
        torch.testing.assert_close(turned, at_the_end, atol=1e-5, rtol=0)


@loadable
def test_F8_documents_and_answers_lose_packed_what_they_lose_alone(architecture, tmp_path):
    """Against transformers' own attention, a sequence at a time, gradients included; two prompts have three answers."""
    model = causal.load(saved(architecture, tmp_path), device=lab.CPU)
    plain = deepcopy(model)
    plain.set_attn_implementation("eager")
    rows = [p for p in lab.PROMPTS if len(p) > 1]
    answers = [[7], [4, 9, 1], [3, 1], *lab.PROMPTS[3:6]]
    prompts = [rows[0]] * 3 + [rows[1]] * 3
    row = behind(prompts, answers)
    packed = [losses(model, rows), -causal.logprobs(model, row, after(row, [len(p) for p in prompts]))]
    for ours, sequences, starts in (
        (packed[0], rows, [1] * len(rows)),
        (packed[1], [p + a for p, a in zip(prompts, answers, strict=True)], [len(p) for p in prompts]),
    ):
        alone = []
        for ids, start in zip(sequences, starts, strict=True):
            logp = plain(torch.tensor([ids]), use_cache=False).logits[0, start - 1 : -1].log_softmax(-1)
            alone.append(-logp.gather(1, torch.tensor(ids[start:])[:, None]).squeeze(1))
        torch.testing.assert_close(ours, torch.cat(alone), atol=1e-5, rtol=0)
        theirs = gradient(plain, torch.cat(alone).sum())
        torch.testing.assert_close(gradient(model, ours.sum()), theirs, atol=1e-4, rtol=1e-4)


@both
@torch.no_grad()
def test_F9_token_of_one_document_changes_no_bit_of_the_others(architecture):
    model, rows = lab.model(architecture), deepcopy(lab.PROMPTS)
    before = causal.hidden(model, pack(rows))
    rows[1][3] = 1 + rows[1][3] % 20
    after_it = causal.hidden(model, pack(rows))
    start, stop = len(rows[0]) + 3, len(rows[0]) + len(rows[1])
    touched = torch.zeros(len(before), dtype=torch.bool)
    touched[start:stop] = True
    assert torch.equal(before[~touched], after_it[~touched])
    assert bool((before[touched] != after_it[touched]).any(-1).all())


@loadable
def test_F21_two_forwards_in_training_mode_are_equal(architecture, tmp_path):
    model = causal.load(saved(architecture, tmp_path), device=lab.CPU)
    scorer = scalar.from_causal(model, seed=0)
    scalar.save(scorer, lab.words(), tmp_path / "judge")
    judge = scalar.load(tmp_path / "judge", device=lab.CPU)
    row = pack(lab.PROMPTS)
    for net in (model, scorer.model, judge.model):
        net.train()
        assert torch.equal(causal.hidden(net, row), causal.hidden(net, row))


def test_F30_sampled_ids_are_judged_scored_and_trained(monkeypatch):
    sampled: list[list[int]] = []

    def recorded(*args, **options):
        found = generate(*args, **options)
        sampled.extend(list(c.ids) for c in found)
        return found

    monkeypatch.setattr(policy, "generate", recorded)
    judge = lab.Rule(len)
    learner = lab.alignment(lab.model("gpt2"), scorer=judge, minibatches=1, ppo_epochs=1)
    (window,) = learner.round(0)
    trained = torch.cat([batch.targets.ids for batch in window]).tolist()
    assert sampled and judge.seen == sampled
    assert trained == [token for ids in sampled for token in ids]
    assert learner.roll_out(0).responses == sampled[: len(sampled) // 2]


def test_F31_sampled_frequencies_follow_the_tempered_softmax():
    """20000 draws at 0.7, and a generation_config that would spoil them; 20.515 is chi-square's p = 0.001 at 5."""
    start, rows, tau = [0.4, 0.25, 0.15, 0.1, 0.06, 0.04], 20_000, 0.7
    model = games.transformer(start)
    model.generation_config.top_k, model.generation_config.repetition_penalty = 2, 9.0
    draws = torch.rand(rows, 1, generator=torch.Generator().manual_seed(0))
    said = generate(
        model, [[0]] * rows, max_new_tokens=1, temperature=tau, eos_id=games.NEVER, uniforms=draws, batch_rows=5000
    )
    row = pack([[0, token] for token in range(6)])
    expected = rows * causal.logprobs(model, row, after(row, [1] * 6), tau).detach().double().exp()
    counts = torch.bincount(torch.tensor([c.ids[0] for c in said]), minlength=6).double()
    assert float(((counts - expected).square() / expected).sum()) < 20.515
