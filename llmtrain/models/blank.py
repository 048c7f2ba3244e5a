"""A model before it has weights: its configuration, and its dimensions read off an instance that takes no memory."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
)
from transformers.pytorch_utils import Conv1D

from llmtrain.errors import ConfigError
from llmtrain.estimate.shape import Shape
from llmtrain.models import lora


def configured(
    architecture: str,
    *,
    vocab_size: int,
    layers: int,
    width: int,
    heads: int,
    ffn_width: int,
    context: int,
    tie_embeddings: bool,
    dropout: float,
    eos_id: int | None = None,
    pad_id: int | None = None,
) -> PretrainedConfig:
    """What transformers needs to know of a new model. Raises ConfigError."""
    if width % heads or (architecture == "llama" and width // heads % 2):
        raise ConfigError(
            f"model.width={width} does not fit model.heads={heads}: a head's width must be whole, and in llama even"
        )
    ids: dict[str, Any] = {"bos_token_id": None, "eos_token_id": eos_id, "pad_token_id": pad_id}
    if architecture == "llama":
        return LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            intermediate_size=ffn_width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=context,
            tie_word_embeddings=tie_embeddings,
            attention_dropout=dropout,
            rms_norm_eps=1e-6,
            **ids,
        )
    return GPT2Config(
        vocab_size=vocab_size,
        n_embd=width,
        n_inner=ffn_width,
        n_layer=layers,
        n_head=heads,
        n_positions=context,
        tie_word_embeddings=tie_embeddings,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        **ids,
    )


def shape(
    config: PretrainedConfig,
    *,
    scalar: bool = False,
    dropout: float = 0.0,
    rank: int = 0,
    targets: Sequence[str] = (),
) -> Shape:
    """The dimensions of the model that `config` describes, every tensor counted, none made.

    scalar: with one number at each token, as reward models and critics have, in place of logits. rank: of the adapters
    of `targets`, if any. Raises InitError for a target that is none.
    """
    auto: Any = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
    text = config.get_text_config()
    if scalar:
        config = config.__class__.from_dict(config.to_dict() | {"id2label": {0: "score"}, "label2id": {"score": 0}})
    with torch.device("meta"):
        model = auto.from_config(config, dtype=torch.float32, trust_remote_code=False)
    tensors = {name: tuple(p.shape) for name, p in model.named_parameters()}
    inside = [m for m in model.base_model.modules() if isinstance(m, nn.Linear | Conv1D)]
    given = text.to_dict()
    heads = text.num_attention_heads
    return Shape(
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        heads=heads,
        kv_heads=given.get("num_key_value_heads") or heads,
        head_width=given.get("head_dim") or text.hidden_size // heads,
        ffn_width=given.get("intermediate_size") or given.get("n_inner") or 4 * text.hidden_size,
        vocab=text.vocab_size,
        gated=any("gate_proj" in name for name in tensors),
        scalar=scalar,
        dropout=dropout,
        matrices=sum(m.weight.numel() for m in inside),
        tensors=tensors,
        adapters=lora.sizes(model, rank, targets) if rank else {},
    )
