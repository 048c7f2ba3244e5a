"""Building, loading, saving and scoring, against transformers itself."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast

from llmtrain.data.pack import after, pack
from llmtrain.errors import ConfigError, InitError
from llmtrain.estimate import memory
from llmtrain.models import attention, causal, draw, scalar

CPU = torch.device("cpu")


def words(count):
    vocab = {"<|pad|>": 0, "<|end|>": 1} | {f"w{i}": i for i in range(2, count)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocab, unk_token="<|pad|>")), pad_token="<|pad|>", eos_token="<|end|>"
    )


@pytest.fixture
def folder(model, tmp_path):
    causal.save(model, words(61), tmp_path / "model")
    return tmp_path / "model"


def test_build_is_a_pure_function_of_its_arguments(build):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = build(seed=3).state_dict(), build(seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("init_std", [0.0, 0.02])
def test_weights_have_the_spread_that_was_asked_for(build, init_std):
    weights = build(vocab_size=3000, width=64, ffn_width=96, init_std=init_std).state_dict()
    wide = init_std or 0.8 / math.sqrt(64)
    for name, parameter in weights.items():
        if "embed" in name or "wte" in name:
            expected = 0.5
        elif "q_proj" in name or "c_attn.weight" in name or "lm_head" in name:
            expected = wide
        elif "o_proj" in name or "attn.c_proj.weight" in name:
            expected = wide / math.sqrt(4)  # two layers, each writes twice into the residual stream
        else:
            continue
        assert float(parameter.std()) == pytest.approx(expected, rel=0.05), name


def test_heads_must_divide_the_width(build):
    with pytest.raises(ConfigError, match="model.width=33"):
        build(width=33)


def test_logprobs_are_those_of_transformers(model, sequences):
    prompts = [0 if len(ids) < 4 else 3 for ids in sequences]
    row = pack(sequences)
    ours = causal.logprobs(model, row, after(row, prompts), temperature=0.7)
    model.set_attn_implementation("eager")
    theirs = []
    for ids, start in zip(sequences, prompts, strict=True):
        logp = (model(torch.tensor([ids])).logits[0] / 0.7).log_softmax(-1)
        theirs += [logp[t - 1, ids[t]] for t in range(max(start, 1), len(ids))]
    torch.testing.assert_close(ours, torch.stack(theirs), atol=1e-5, rtol=0)


def test_f6_packed_equals_padded_on_either_side(model, sequences):
    row = pack(sequences)
    ours = causal.logits_at(model, causal.hidden(model, row), row.last)
    model.set_attn_implementation("sdpa")
    width = max(map(len, sequences))
    for side in ("left", "right"):
        ids, seen = torch.zeros(len(sequences), width, dtype=torch.int64), torch.zeros(len(sequences), width)
        for i, s in enumerate(sequences):
            here = slice(width - len(s), None) if side == "left" else slice(len(s))
            ids[i, here], seen[i, here] = torch.tensor(s), 1
        positions = (seen.cumsum(1) - 1).clamp(min=0).long()
        logits = model(ids, attention_mask=seen.long(), position_ids=positions).logits
        last = [width - 1 if side == "left" else len(s) - 1 for s in sequences]
        torch.testing.assert_close(ours, logits[torch.arange(len(last)), last], atol=1e-5, rtol=0)


def test_f21_two_forwards_in_training_mode_are_equal(build, tmp_path, sequences):
    causal.save(build(dropout=0.3), words(61), tmp_path)
    model, row = causal.load(tmp_path, device=CPU).train(), pack(sequences)
    assert torch.equal(causal.hidden(model, row), causal.hidden(model, row))
    noisy = causal.load(tmp_path, device=CPU, dropout=0.3).train()
    assert not torch.equal(causal.hidden(noisy, row), causal.hidden(noisy, row))
    with pytest.raises(InitError, match="drops out"):
        causal.dropout_test(noisy)


def test_saved_model_is_a_plain_hugging_face_directory(model, folder):
    ids = torch.tensor([[5, 6, 7]])
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(ids).logits[0]
    ours = causal.logits_at(model, causal.hidden(model, pack([[5, 6, 7]])), torch.arange(3))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert "llmtrain" not in (folder / "config.json").read_text()
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 1


def test_loading_gives_the_weights_back(model, folder, build):
    loaded, other = causal.load(folder, device=CPU), build(seed=9)
    causal.load_weights(other, folder)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name])
        assert torch.equal(weight, other.state_dict()[name])


def test_tied_embeddings_load(build, tmp_path):
    model = build(tie_embeddings=True)
    causal.save(model, words(61), tmp_path)
    loaded = causal.load(tmp_path, device=CPU)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert torch.equal(loaded.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_a_missing_weight_is_an_error_not_a_random_one(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if ".1." in name))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InitError, match="lack"):
        causal.load(folder, device=CPU)


def test_a_reward_model_is_no_language_model(model, tmp_path):
    scalar.save(scalar.from_causal(model, seed=0), words(61), tmp_path)
    with pytest.raises(InitError, match="another kind of model"):
        causal.load(tmp_path, device=CPU)


@pytest.mark.parametrize("damage", ["truncated", "pickle", "no config", "code"])
def test_damaged_directories_are_refused(folder, damage):
    weights, config = folder / "model.safetensors", folder / "config.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:500])
    elif damage == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif damage == "no config":
        config.unlink()
    else:
        config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"AutoConfig": "evil.Config"}}))
    with pytest.raises(InitError, match=str(folder)):
        causal.load(folder, device=CPU)


def test_an_architecture_with_other_attention_is_refused(tmp_path):
    config = BloomConfig(vocab_size=61, hidden_size=32, n_layer=1, n_head=4)
    BloomForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(InitError):
        causal.load(tmp_path, device=CPU)


def test_self_test_finds_an_architecture_that_mixes_sequences(model, monkeypatch):
    causal.self_test(model, "here")
    monkeypatch.setattr(causal, "blocks", lambda bounds, _: attention.blocks(bounds[[0, -1]]))
    with pytest.raises(InitError, match="here: .*not supported"):
        causal.self_test(model, "here")


def test_a_weight_that_is_not_finite_is_named(folder):
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if ".1." in name)
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InitError, match=f"{folder}: .*{name} .*not finite"):
        causal.load(folder, device=CPU)


def test_self_test_finds_numbers_that_are_not_finite(model):
    model.get_output_embeddings().weight.data.fill_(3e38)  # finite, but no sum of them is
    with pytest.raises(InitError, match="here: .*not finite"):
        causal.self_test(model, "here")


@pytest.mark.parametrize("changes", [
    {"hidden_size": "x", "n_embd": "x"}, {"num_attention_heads": 0, "n_head": 0}, {"hidden_size": 64, "n_embd": 64},
])  # fmt: skip
def test_a_config_that_makes_no_sense_is_one_line(folder, changes):
    config = folder / "config.json"
    known = json.loads(config.read_text())
    config.write_text(json.dumps(known | {key: value for key, value in changes.items() if key in known}))
    with pytest.raises(InitError, match=str(folder)) as error:
        causal.load(folder, device=CPU)
    assert "\n" not in str(error.value)


def test_an_index_that_names_a_pickle_is_not_followed(folder, tmp_path, monkeypatch):
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    torch.save({}, folder / "x.bin")
    names = load_file(folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, "x.bin")}))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    with pytest.raises(InitError, match="x.bin"):
        causal.load(folder, device=CPU)


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_grows_the_same_way_each_time_and_keeps_what_it_knows(build, sequences, tied, tmp_path):
    grown, again, before = (build(tie_embeddings=tied) for _ in range(3))
    row = pack(sequences)
    state = torch.get_rng_state()
    for model in (grown, again):
        torch.manual_seed(id(model) % 1000)
        draw.grow(model, 64, seed=5)
    torch.set_rng_state(state)
    assert grown.config.vocab_size == 64
    for name, weight in grown.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    new = causal.logits_at(grown, causal.hidden(grown, row), row.last)
    torch.testing.assert_close(new[:, :61], causal.logits_at(before, causal.hidden(before, row), row.last))
    rows = grown.get_input_embeddings().weight[61:]
    assert not torch.equal(rows[0], rows[1])
    assert float(rows.detach().std()) == pytest.approx(float(before.get_input_embeddings().weight.std()), rel=0.5)
    draw.grow(grown, 60, seed=5)
    assert grown.config.vocab_size == 64
    causal.save(grown, words(64), tmp_path)
    causal.load(tmp_path, device=CPU)


def test_check_tokenizer(folder):
    causal.check_tokenizer(folder, words(61))
    with pytest.raises(InitError, match="62 tokens, the model knows 61"):
        causal.check_tokenizer(folder, words(62))


def test_bfloat16_is_near_float32(folder, sequences):
    row = pack(sequences)
    full, half = (causal.load(folder, device=CPU, dtype=d) for d in (torch.float32, torch.bfloat16))
    targets = after(row, [1] * len(sequences))
    a, b = causal.logprobs(full, row, targets), causal.logprobs(half, row, targets)
    assert a.dtype == b.dtype == torch.float32
    assert 0 < float((a - b).abs().mean()) < 0.1


def test_large_vocabulary_is_scored_in_chunks_of_the_same_numbers(build, monkeypatch):
    model = build(vocab_size=memory.LARGE_SUMMED)
    rows = [[3, 4000, 7, 9], [5, 6, 2100]]
    row = pack(rows)
    wanted = after(row, [1, 1])

    def told() -> list[torch.Tensor]:
        logp, nats = causal.logprobs(model, row, wanted, 0.7), causal.nll(model, row, wanted)
        weights = list(model.parameters())
        parts = [torch.autograd.grad(loss, weights) for loss in (logp[::2].sum(), nats)]
        return [logp.detach(), nats.detach(), *parts[0], *parts[1]]

    monkeypatch.setattr(memory, "LARGE", memory.LARGE_SUMMED)
    monkeypatch.setattr(memory, "CHUNK", 2 * 4 * memory.LARGE_SUMMED)  # two targets at a time
    chunked = told()
    monkeypatch.setattr(causal, "at_once", lambda *_, **__: None)
    torch.testing.assert_close(chunked, told(), rtol=1e-5, atol=1e-5)
