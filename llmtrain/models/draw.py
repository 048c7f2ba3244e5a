"""Weights out of nothing: of a new model, and of the rows that a model gets for new tokens."""

import math

import torch
from torch import nn
from transformers import PreTrainedModel

RESIDUAL = ("o_proj.weight", "down_proj.weight", "c_proj.weight")  # what writes into the residual stream


@torch.no_grad()
def initialise(model: PreTrainedModel, layers: int, embedding_std: float, init_std: float, seed: int) -> None:
    """Draw every matrix from a generator of its own; norms stay 1, biases 0."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        conv1d = "c_attn" in name or "c_proj" in name or "c_fc" in name  # GPT-2 stores these transposed
        fan_in = parameter.shape[0] if conv1d else parameter.shape[1]
        std = embedding_std if id(parameter) in embeddings else init_std or 0.8 / math.sqrt(fan_in)
        if name.endswith(RESIDUAL):
            std /= math.sqrt(2 * layers)
        parameter.normal_(0.0, std, generator=generator)


@torch.no_grad()
def grow(model: PreTrainedModel, tokens: int, seed: int) -> None:
    """Give a model that knows fewer than `tokens` ids rows for the others, drawn around the mean of those it has."""
    known = model.config.get_text_config().vocab_size
    if tokens <= known:
        return
    with torch.random.fork_rng(devices=[]):  # transformers draws rows that are replaced here
        model.resize_token_embeddings(tokens, mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        weight = module.get_parameter("weight")
        rows = weight[:known]
        drawn = torch.randn(tokens - known, rows.shape[1], generator=generator).to(rows.device)
        weight[known:] = rows.mean(0) + rows.std(0) * drawn
