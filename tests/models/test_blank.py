"""Dimensions of models that are never made, against published numbers and models that are made."""

import pytest
from transformers import GPT2Config, LlamaConfig, Qwen2Config

from llmtrain.models import blank, scalar
from tests.invariants import lab


def test_published_sizes():
    assert blank.shape(GPT2Config()).parameters == 124_439_808  # GPT-2 small
    llama = LlamaConfig(intermediate_size=11008, vocab_size=32000)
    assert blank.shape(llama).parameters == 6_738_415_616  # Llama 2 7B


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", lab.ARCHITECTURES)
def test_every_tensor_of_a_real_model_is_counted(architecture, tied):
    model = lab.model(architecture, tie_embeddings=tied)
    real = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert blank.shape(model.config).tensors == real
    judge = scalar.from_causal(model, seed=0).model
    assert blank.shape(model.config, scalar=True).parameters == sum(p.numel() for p in judge.parameters())


def test_matrices_are_those_that_every_token_meets():
    small = lab.SMALL
    d, f, layers = small["width"], small["ffn_width"], small["layers"]
    assert blank.shape(lab.model("llama").config).matrices == layers * (4 * d * d + 3 * d * f)
    assert blank.shape(lab.model("gpt2").config).matrices == layers * (4 * d * d + 2 * d * f)


def test_grouped_heads():
    config = Qwen2Config(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=50,
    )  # fmt: skip
    shape = blank.shape(config)
    assert (shape.heads, shape.kv_heads, shape.head_width, shape.gated) == (4, 2, 16, True)
