"""The checkpoint of every stage is a plain Hugging Face model: transformers alone gets our numbers from it."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from llmtrain.data.pack import pack
from llmtrain.models import causal, scalar

CPU = torch.device("cpu")
TEXTS = ["Mira owns a kite.", "Tom.", "I do not know."]


def checkpoint(stage: str, chain: tiny.Chain, runs: Path) -> tuple[Path, list[list[int]]]:
    """The newest checkpoint of a tiny run, and token ids by its own tokenizer as transformers loads it."""
    run = getattr(chain, stage, None) or tiny.ran(stage, runs, **chain.links(stage))
    path = run / "checkpoints" / "latest"
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert tokenizer.chat_template
    return path, [tokenizer(text)["input_ids"] for text in TEXTS]


@pytest.mark.parametrize("stage", ["pretrain", "sft", "dpo", "ppo"])
def test_logits_equal_ours(stage, chain, runs):
    path, rows = checkpoint(stage, chain, runs)
    model, packed = causal.load(path, device=CPU), pack(rows)
    ours = causal.logits_at(model, causal.hidden(model, packed), torch.arange(sum(map(len, rows))))
    plain = AutoModelForCausalLM.from_pretrained(path)
    theirs = torch.cat([plain(torch.tensor([ids])).logits[0] for ids in rows])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_scores_equal_ours(chain, runs):
    path, rows = checkpoint("reward", chain, runs)
    ours = scalar.load(path, device=CPU).scores(pack(rows))
    plain = AutoModelForSequenceClassification.from_pretrained(path)
    bias = json.loads((path / "config.json").read_text())["llmtrain_score_bias"]
    theirs = torch.stack([plain(torch.tensor([ids])).logits[0, 0] for ids in rows]) + bias
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
