"""Low-rank adapters on both architectures: what they add, what they hold, and the plain model that they merge to."""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from llmtrain.data.pack import Targets, after, behind, pack
from llmtrain.errors import InitError
from llmtrain.models import blank, causal, lora
from llmtrain.models.lora import Adapters
from llmtrain.rollout.sample import generate

BLOCKS = {"llama": 4 * 2 * 32 + 3 * (32 + 48), "gpt2": 32 + 96 + 2 * 32 + 2 * (32 + 48)}  # d_in + d_out of a block


def adapted(model, *, moved: bool = True, targets=(), rank: int = 3) -> Adapters:
    adapters = Adapters(model, rank=rank, alpha=6.0, targets=targets, seed=0)
    draws = torch.Generator().manual_seed(1)
    for adapter in adapters.values() if moved else ():
        adapter.b.data.normal_(0.0, 0.2, generator=draws)
    return adapters


def test_new_adapters_change_no_bit(model, sequences):
    row = pack(sequences)
    before = causal.hidden(model, row)
    adapted(model, moved=False)
    assert torch.equal(causal.hidden(model, row), before)


def test_switched_off_the_model_is_itself_to_the_bit(model, build, sequences):
    row, alone = pack(sequences), build()
    adapters = adapted(model)
    on, expected = causal.hidden(model, row), causal.hidden(alone, row)
    assert not torch.allclose(on, expected, atol=0.1)
    with lora.frozen(adapters) as reference:
        assert reference is model and torch.equal(causal.hidden(reference, row), expected)
    assert torch.equal(causal.hidden(model, row), on)
    with lora.frozen(alone) as reference:
        assert reference is alone


def test_what_is_added_is_the_formula(model):
    adapters = adapted(model)
    name, layer = next(iter(lora.layers(model, []).items()))
    own = adapters[name.replace(".", "/")]
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    with adapters.off():
        plain = layer(x)
    expected = plain + torch.einsum("nd,rd,or->no", x, own.a, own.b) * (6.0 / 3)
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)


def test_only_the_adapters_learn_and_nothing_else_is_held(model, architecture, sequences):
    whole = sum(p.numel() for p in model.parameters())
    adapters = adapted(model, moved=False)
    assert sum(p.numel() for p in adapters.parameters()) == 2 * 3 * BLOCKS[architecture]  # two layers, rank 3
    assert sum(p.numel() for p in {id(p): p for m in (model, adapters) for p in m.parameters()}.values()) == (
        whole + 2 * 3 * BLOCKS[architecture]
    )
    packed = behind([sequences[0]], [sequences[1]])
    causal.logprobs(model, packed, after(packed, [len(sequences[0])])).sum().backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(adapter.b.grad.abs().max() > 0 for adapter in adapters.values())
    assert all(adapter.a.grad.abs().max() == 0 for adapter in adapters.values())  # as long as B is 0


@pytest.mark.parametrize("tied", [False, True])
def test_merged_it_is_a_plain_model(build, tied, sequences, tmp_path):
    model = build(tie_embeddings=tied)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapters = adapted(model)
    model.save_pretrained(tmp_path, state_dict=adapters.merged())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    plain, found = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(found.values())
    for ids in sequences[:3]:
        row = pack([ids])
        own = causal.logits_at(model, causal.hidden(model, row), torch.arange(len(ids)))
        assert float((plain(torch.tensor([ids])).logits[0] - own).detach().abs().max()) < 1e-5


def test_packed_is_what_each_sequence_is_alone(model, sequences):
    adapted(model)
    whole = causal.hidden(model, pack(sequences))
    alone = torch.cat([causal.hidden(model, pack([ids])) for ids in sequences])
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=1e-5)


def test_the_sampler_writes_what_the_merged_model_writes(model, build, sequences):
    adapters, other = adapted(model), build()
    other.load_state_dict(adapters.merged())
    limits = {"max_new_tokens": 12, "temperature": 0.0, "eos_id": 1}
    said = [answer.ids for answer in generate(model, sequences, **limits)]
    assert said == [answer.ids for answer in generate(other, sequences, **limits)]
    with adapters.off():
        assert said != [answer.ids for answer in generate(model, sequences, **limits)]


def test_in_chunks_a_head_that_stays_has_no_gradient(build, monkeypatch, sequences):
    """The same gradients of the adapters as of whole logits (objectives/linear.py)."""
    found = []
    row = pack(sequences)
    wanted = Targets(torch.arange(8), torch.arange(8), torch.zeros(8, dtype=torch.int64))
    for rows in (None, 3):
        monkeypatch.setattr(causal, "_at_once", lambda *_, rows=rows, **__: rows)
        model = build()
        adapters = adapted(model)
        weights = torch.linspace(-1, 1, 8)
        (causal.logprobs(model, row, wanted) * weights).sum().backward()
        assert model.get_output_embeddings().weight.grad is None
        found.append(torch.cat([p.grad.flatten() for p in adapters.parameters()]))
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


def test_targets_are_the_last_names_of_layers(model, architecture):
    name = "c_attn" if architecture == "gpt2" else "v_proj"
    assert [path.rpartition("/")[2] for path in adapted(model, targets=[name])] == [name] * 2
    with pytest.raises(InitError, match=rf"adapter.targets: lm_head is no linear layer of \w+; it has .*{name}"):
        lora.layers(model, [name, "lm_head"])


def test_sizes_are_those_that_are_made(model, architecture):
    expected = {name: tuple(p.shape) for name, p in adapted(model).named_parameters()}
    assert blank.shape(model.config, rank=3).adapters == expected
    layer = next(iter(lora.layers(model, []).values()))
    assert isinstance(layer, Conv1D) == (architecture == "gpt2")
