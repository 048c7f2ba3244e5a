"""Reward models and critics, against transformers' sequence classification."""

import json
import math

import pytest
import torch
from test_causal import words
from transformers import AutoModelForSequenceClassification

from llmtrain.data.pack import pack
from llmtrain.errors import CheckpointError, InitError
from llmtrain.models import attention, causal, scalar
from llmtrain.objectives.ranking import kway_loss

CPU = torch.device("cpu")


@pytest.fixture
def scorer(model):
    return scalar.from_causal(model, seed=1)


@torch.no_grad()
def test_f7_the_score_is_the_value_at_the_last_token(scorer, sequences):
    sequences[1][-1] = 0  # the last token is the padding id: masks never look at ids (correctness B2)
    row = pack(sequences)
    scores = scorer.scores(row)
    last = torch.tensor([len(s) for s in sequences]).cumsum(0) - 1
    torch.testing.assert_close(scores, scorer(row)[last])
    alone = torch.cat([scorer.scores(pack([s])) for s in sequences])
    torch.testing.assert_close(scores, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("micro_tokens", [1, 40, 1000])
def test_judged_answers_share_prompts_and_lose_what_each_loses_alone(scorer, sequences, tmp_path, micro_tokens):
    """Scores within 1e-5 of transformers', an answer at a time, and the gradient of a ranking loss as near."""
    scalar.save(scorer, words(61), tmp_path)
    alone = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    prompts = [sequences[0]] * 4 + [sequences[2]] * 2 + [sequences[3]]
    answers = [[1 + (5 * i + t) % 60 for t in range(1 + 3 * i % 8)] for i in range(7)]
    ours = scorer.judged(prompts, answers, micro_tokens)
    rows = [torch.tensor([p + a]) for p, a in zip(prompts, answers, strict=True)]
    theirs = torch.cat([alone(row, attention_mask=torch.ones_like(row)).logits[0] for row in rows])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    group, ranks = torch.tensor([0, 0, 0, 0, 1, 1, 2]), torch.tensor([1.0, 2, 2, 3, 2, 1, 1])
    losses = [kway_loss(scores, group, ranks)[0] for scores in (ours, theirs)]
    torch.testing.assert_close(*losses, atol=1e-5, rtol=0)
    sum(losses).backward()
    for mine, other in zip(scorer.model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_transformers_reads_the_same_score(scorer, sequences, tmp_path):
    scorer.normalise(2.5)
    scalar.save(scorer, words(61), tmp_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    logits = torch.cat([theirs(torch.tensor([s]), attention_mask=torch.ones(1, len(s))).logits[0] for s in sequences])
    ours = scorer.scores(pack(sequences))
    torch.testing.assert_close(logits + theirs.config.to_dict()["llmtrain_score_bias"], ours, atol=1e-5, rtol=0)
    again = scalar.load(tmp_path, device=CPU)
    torch.testing.assert_close(again.scores(pack(sequences)), ours)


@pytest.mark.parametrize("bias", [math.nan, math.inf])
def test_a_bias_that_is_not_finite_is_neither_saved_nor_loaded(scorer, tmp_path, bias):
    scalar.save(scorer, words(61), tmp_path / "good")
    scorer.normalise(bias)
    with pytest.raises(CheckpointError, match="bias"):
        scalar.save(scorer, words(61), tmp_path / "bad")
    config = tmp_path / "good" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"llmtrain_score_bias": bias}))
    with pytest.raises(InitError, match="llmtrain_score_bias"):
        scalar.load(tmp_path / "good", device=CPU)


def test_a_fresh_head_has_the_published_spread_and_keeps_the_backbone(build):
    model = build(width=512, heads=4, layers=1)
    state = torch.get_rng_state()
    scorer = scalar.from_causal(model, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert float(scorer.model.score.weight.std()) == pytest.approx(1 / math.sqrt(513), rel=0.15)
    assert scorer.model.score.bias is None
    assert scorer.model.config.num_labels == 1
    for name, weight in model.base_model.state_dict().items():
        assert torch.equal(weight, scorer.model.base_model.state_dict()[name])


@torch.no_grad()
def test_f26_normalised_scores_have_mean_zero(scorer, sequences):
    row = pack(sequences)
    mean = float(scorer.scores(row).mean())
    scorer.normalise(mean)
    assert float(scorer.scores(row).mean()) == pytest.approx(0, abs=1e-6)


def test_the_gradient_reaches_backbone_and_head(scorer, sequences):
    scorer.scores(pack(sequences)).sum().backward()
    touched = [n for n, p in scorer.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert any("score" in n for n in touched)
    assert any("embed" in n or "wte" in n for n in touched)


def test_a_head_of_zeros_values_everything_at_0_and_learns(model, sequences):
    critic = scalar.from_causal(model, seed=None)
    values = critic(pack(sequences))
    assert torch.equal(values, torch.zeros_like(values))
    (values - 1).square().sum().backward()
    assert critic.model.score.weight.grad.abs().sum() > 0


def test_load_weights_takes_the_bias_too(scorer, model, tmp_path):
    scorer.normalise(-1.5)
    scalar.save(scorer, words(61), tmp_path)
    other = scalar.from_causal(model, seed=7)
    scalar.load_weights(other, tmp_path)
    assert float(other.bias) == 1.5
    assert torch.equal(other.model.score.weight, scorer.model.score.weight)


def test_a_language_model_is_no_reward_model(model, tmp_path):
    causal.save(model, words(61), tmp_path)
    with pytest.raises(InitError, match="not a reward model"):
        scalar.load(tmp_path, device=CPU)


@pytest.mark.parametrize("made", ["load", "from_causal"])
def test_a_scorer_that_mixes_sequences_or_drops_out_is_refused(made, scorer, model, tmp_path, monkeypatch):
    """Correctness A6 and C4, with a head of zeros as well, whose scores would not tell."""
    scalar.save(scorer, words(61), tmp_path)

    def make():
        if made == "load":
            return scalar.load(tmp_path, device=CPU)
        return scalar.from_causal(model, seed=None)

    make()
    with monkeypatch.context() as patch:
        patch.setattr(causal, "blocks", lambda bounds, _: attention.blocks(bounds[[0, -1]]))
        with pytest.raises(InitError, match="ForSequenceClassification .*not supported"):
            make()
    plain = causal.hidden
    monkeypatch.setattr(causal, "hidden", lambda net, row: torch.dropout(plain(net, row), 0.3, net.training))
    with pytest.raises(InitError, match="ForSequenceClassification drops out"):
        make()


def test_a_head_on_a_model_with_dropout_has_none(build, sequences):
    scorer, row = scalar.from_causal(build(dropout=0.3), seed=1).train(), pack(sequences)
    assert torch.equal(scorer(row), scorer(row))
