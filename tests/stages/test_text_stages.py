"""pretrain and sft: what they leave, and that they learn."""

import json
import math
from pathlib import Path

import pytest
import tiny
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from llmtrain.data.records import Message
from llmtrain.errors import ConfigError, InitError
from llmtrain.models import causal
from llmtrain.rollout.sample import generate
from llmtrain.run import metrics
from llmtrain.text import tokenizers
from llmtrain.text.template import encode_prompt

CPU = torch.device("cpu")


def newest(run: Path) -> Path:
    return run / "checkpoints" / "latest"


def keys(run: Path) -> set[str]:
    return {key for row in metrics.read(run / "metrics.jsonl") for key in row}


@pytest.mark.parametrize("stage", ["pretrain", "sft"])
def test_run_leaves_its_records(stage, chain):
    run = getattr(chain, stage)
    result = json.loads((run / "result.json").read_text())
    assert (result["status"], result["step"], result["headline"]) == ("finished", 6, "eval/loss")
    assert result["value"] == result["metrics"]["eval/loss"]
    assert result["metrics"]["eval/perplexity"] == pytest.approx(math.exp(result["metrics"]["eval/loss"]), rel=1e-9)
    assert {"train/loss", "train/lr", "train/grad_norm", "train/tokens", "time/step_seconds"} <= keys(run)
    assert sorted(f.name for f in (run / "samples").iterdir()) == [f"step-{n:08d}.jsonl" for n in (2, 4, 6)]
    rows = [json.loads(line) for line in (run / "samples" / "step-00000006.jsonl").read_text().splitlines()]
    assert rows and all("prompt" in row for row in rows)
    assert (run.parent / "latest").resolve() == run.resolve()


def test_fresh_model_knows_nothing_and_learns(runs):
    """Small weights at the start: the loss is that of the uniform distribution, ln of the vocabulary."""
    run = tiny.ran("pretrain", runs, max_steps=30, optimizer={"lr": 0.01})
    losses = [row["train/loss"] for row in metrics.read(run / "metrics.jsonl") if "train/loss" in row]
    assert losses[0] == pytest.approx(math.log(300), abs=0.5)
    assert losses[-1] < losses[0] - 0.5


def test_micro_batches_do_not_change_the_model(runs):
    """The same rows in one piece and in many: the rest is rounding."""
    whole, cut = (
        tiny.ran("pretrain", runs, batch={"micro_tokens": tokens}, optimizer={"lr": 1e-3}) for tokens in (4096, 40)
    )
    for (name, a), b in zip(weights(whole).items(), weights(cut).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5, msg=name)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(newest(run)).state_dict()


def test_gpt2_runs_too(runs):
    run = tiny.ran("pretrain", runs, model={"name": "gpt2", "tie_embeddings": True}, max_steps=2)
    assert json.loads((newest(run) / "config.json").read_text())["model_type"] == "gpt2"


def test_training_goes_on_from_a_model(chain, runs):
    run = tiny.ran("pretrain", runs, init=str(chain.pretrain), optimizer={"lr": 0.0}, max_steps=1)
    for (name, a), b in zip(weights(run).items(), weights(chain.pretrain).values(), strict=True):
        assert torch.equal(a, b), name
    assert (newest(run) / "tokenizer.json").read_text() == (newest(chain.pretrain) / "tokenizer.json").read_text()


PAIRS = {
    "Where is Mira?": "At the mill.",
    "Who is Tom?": "A baker.",
    "What is red?": "The boat.",
    "How old?": "Nine years.",
    "Say hello.": "Hello to you.",
}


def test_F28_sft_overfits_its_pairs_and_stops_with_eos(chain, runs, tmp_path):
    file = tmp_path / "pairs.jsonl"
    lines = [json.dumps({"instruction": q, "input": "", "output": a}) for q, a in PAIRS.items()]
    file.write_text("\n".join(lines) + "\n")
    run = tiny.ran(
        "sft",
        runs,
        init=str(chain.pretrain),
        files=[str(file)],
        data={"eval_fraction": 0.2},
        max_steps=160,
        optimizer={"lr": 0.01},
        loop={"eval_every": 160, "save_every": 160},
    )
    tokenizer = tokenizers.load(str(newest(run)))
    prompts = [encode_prompt(tokenizer, [Message("user", q)]) for q in PAIRS]
    model = causal.load(newest(run), device=CPU).eval()
    answers = generate(model, prompts, max_new_tokens=30, temperature=0, eos_id=tokenizer.eos_token_id)
    exact = [
        answer.ended and tokenizer.decode(answer.ids, skip_special_tokens=True) == wanted
        for answer, wanted in zip(answers, PAIRS.values(), strict=True)
    ]
    assert sum(exact) == 4  # the fifth is held out


def test_sft_from_a_base_without_a_chat_template(runs, tmp_path):
    """A plain GPT-2 directory gets our template and rows for the role tokens; the run goes on like any other."""
    tokenizer = tokenizers.train_bpe(["Where is Mira? At the mill."], 280)
    backend = tokenizer.backend_tokenizer.to_str().replace("<|user|>", "<|a|>").replace("<|assistant|>", "<|b|>")
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(backend), eos_token="<|end|>")
    shape = dict(layers=1, width=32, heads=2, ffn_width=48, context=192, tie_embeddings=True)
    rest = dict(embedding_std=0.5, init_std=0.0, dropout=0.0, eos_id=1, pad_id=None, seed=0)
    causal.save(causal.build("gpt2", vocab_size=len(bare), **shape, **rest), bare, tmp_path / "base")
    one, other = (tiny.ran("sft", runs / n, init=str(tmp_path / "base"), max_steps=2) for n in ("a", "b"))
    for name, weight in weights(one).items():
        assert torch.equal(weight, weights(other)[name])
    saved = tokenizers.load(str(newest(one)))
    assert causal.load(newest(one), device=CPU).config.vocab_size == len(saved) == len(bare) + 2
    assert saved.decode(encode_prompt(saved, [Message("user", "hi")])) == "<|user|>hi<|end|><|assistant|>"
    (one / "result.json").unlink()
    again = tiny.stage("sft").run(tiny.configured("sft", runs / "a", init=str(tmp_path / "base"), max_steps=3), one)
    assert again["step"] == 3


def test_rows_longer_than_a_sliding_window_are_refused(tmp_path, runs, chain):
    window = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, sliding_window=9)
    tokenizer = tokenizers.load(str(newest(chain.pretrain)))
    config = MistralConfig(vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=192, **window)
    causal.save(MistralForCausalLM(config), tokenizer, tmp_path / "base")
    with pytest.raises(InitError, match="data.max_length needs 32 tokens.*window of 9"):
        tiny.ran("sft", runs, init=str(tmp_path / "base"), data={"max_length": 32})


def test_rows_longer_than_the_model_are_refused(chain, runs):
    with pytest.raises(InitError, match="data.max_length.*500.*192"):
        tiny.ran("sft", runs, init=str(chain.pretrain), data={"max_length": 500})


@pytest.mark.parametrize("stage", ["pretrain", "sft", "reward", "dpo"])
def test_run_without_held_out_rows_is_refused_before_it_trains(stage, chain, runs):
    with pytest.raises(ConfigError, match="data.eval_fraction: 0 holds nothing.*above 0"):
        tiny.ran(stage, runs, **tiny.merged(chain.links(stage), {"data": {"eval_fraction": 0.0}}))


def test_pretrain_fills_the_whole_context_of_a_model_with_learnt_positions(runs):
    """A row holds context + 1 tokens, and GPT-2 knows no place for the last one."""
    model = {"name": "gpt2", "layers": 1, "width": 32, "heads": 2, "ffn_width": 48, "context": 32}
    run = tiny.ran("pretrain", runs, model=model, data={"max_length": 32}, max_steps=2)
    assert json.loads((run / "result.json").read_text())["step"] == 2


def test_share_of_useful_tokens_is_told(chain, runs):
    """A block is as long as its longest row, none of the others is shorter than .7 of that."""
    run = tiny.ran("sft", runs, **chain.links("sft"))
    rows = [row for row in metrics.read(run / "metrics.jsonl") if "train/useful" in row]
    assert len(rows) == 6 and all(0.7 <= row["train/useful"] <= 1 for row in rows)
    assert any(row["train/useful"] < 1 for row in rows)
    computed = sum(row["train/tokens"] / row["train/useful"] for row in rows)
    useful = json.loads((run / "result.json").read_text())["useful"]
    assert useful == pytest.approx(sum(row["train/tokens"] for row in rows) / computed)
