"""Bytes that autograd keeps of a real forward, counted tensor by tensor, for what measured.py does not run."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from llmtrain.data.pack import following, pack
from llmtrain.estimate import memory
from llmtrain.estimate.shape import Load
from llmtrain.models import blank, causal
from llmtrain.models.attention import PACKED
from llmtrain.rollout import sample
from tests.invariants import lab

LENGTHS = [64] * 4 + [32] * 4  # of one length alone attention would lay nothing out, and keep a little less


def grouped() -> torch.nn.Module:
    config = Qwen2Config(
        hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=50, use_sliding_window=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation=PACKED, dtype=torch.float32)
    return causal.prepare(model, torch.device("cpu"), torch.float32)


def saved(model) -> int:
    """Bytes of distinct storages that a forward keeps, parameters apart."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(2, 23, (length + 1,), generator=generator).tolist() for length in LENGTHS]
    packed = pack([row[:-1] for row in rows])
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[int, torch.Tensor] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        if x.untyped_storage().data_ptr() not in own:
            found[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        logp = causal.logprobs(model.train(), packed, following(packed, rows))
    assert logp.requires_grad
    return sum(x.untyped_storage().nbytes() for x in found.values())


@pytest.mark.parametrize("architecture", [*lab.ARCHITECTURES, "grouped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_those_that_autograd_keeps(architecture, dtype):
    sizes = {"layers": 3, "width": 64, "heads": 4, "ffn_width": 160, "context": 96}
    model = grouped() if architecture == "grouped" else lab.model(architecture, **sizes)
    model.llmtrain_dtype = dtype
    tokens = sum(LENGTHS)
    shape, load = blank.shape(model.config), Load(tokens, sum(n * n for n in LENGTHS), tokens)
    told = memory.kept(shape, load, dtype.itemsize) + memory.logits(shape, load)
    assert told == pytest.approx(saved(model), rel=0.03)


def test_prompts_are_read_as_many_at_once_as_the_sampler_reads():
    assert memory.PREFILL == sample.PREFILL
