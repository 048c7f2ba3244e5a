"""Causal language models through transformers: build, load, save, and the one function that scores tokens.

Letters: N tokens of a packed row, M targets, V vocabulary, d width.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from llmtrain.data.pack import Packed, Targets, pack
from llmtrain.errors import InitError
from llmtrain.estimate.memory import at_once
from llmtrain.models.attention import PACKED, blocks, decoding
from llmtrain.models.blank import configured
from llmtrain.models.draw import initialise
from llmtrain.models.precision import precision
from llmtrain.objectives.linear import linear_logprobs, summed_nll
from llmtrain.objectives.logprobs import token_logprobs
from llmtrain.objectives.masked import wide
from llmtrain.text import foreign

transformers_logging.disable_progress_bar()  # a checkpoint of a small model is no event

SELF_TEST_TOLERANCE = 1e-3
HALF_TOLERANCE = 0.05  # bfloat16 keeps 8 bits


def build(
    architecture: str,
    *,
    vocab_size: int,
    layers: int,
    width: int,
    heads: int,
    ffn_width: int,
    context: int,
    tie_embeddings: bool,
    embedding_std: float,
    init_std: float,
    dropout: float,
    eos_id: int,
    pad_id: int | None,
    seed: int,
) -> PreTrainedModel:
    """A model with random weights, a pure function of its arguments.

    embedding_std: of token (and position) embeddings. init_std: of linear layers; 0 gives 0.8/sqrt(fan in). Layers that
    write into the residual stream are divided by sqrt(2 * layers) (GPT-2). Raises ConfigError.
    """
    config = configured(
        architecture,
        vocab_size=vocab_size,
        layers=layers,
        width=width,
        heads=heads,
        ffn_width=ffn_width,
        context=context,
        tie_embeddings=tie_embeddings,
        dropout=dropout,
        eos_id=eos_id,
        pad_id=pad_id,
    )
    with torch.random.fork_rng(devices=[]):  # transformers draws weights that initialise() replaces
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation=PACKED, dtype=torch.float32, trust_remote_code=False
        )
    initialise(model, layers, embedding_std, init_std, seed)
    return prepare(model, torch.device("cpu"), torch.float32)


def read_config(path: Path) -> PretrainedConfig:
    """config.json of a local directory, without code from it. Raises InitError."""
    foreign.check(path)
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers lets through whatever a malformed file leads to
        reason = " ".join(str(error).split())[:200]
        raise InitError(f"{path}: not a model directory that transformers can read ({reason})") from None
    return config


def without_dropout(config: PretrainedConfig, dropout: float) -> PretrainedConfig:
    """Set every dropout field BEFORE the model is built: functional dropout survives a later walk (correctness C4)."""
    for name, value in config.to_dict().items():
        if isinstance(value, int | float) and not isinstance(value, bool) and "drop" in name:
            setattr(config, name, dropout)
    return config


def check_tokenizer(path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises InitError when the tokenizer has ids that the model at `path` does not know. Reads config.json alone."""
    known = read_config(path).get_text_config().vocab_size
    if len(tokenizer) > known:
        raise InitError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens, the model knows {known}; they do not belong together"
        )


def load(
    path: Path, *, device: torch.device, dtype: torch.dtype = torch.float32, dropout: float = 0.0
) -> PreTrainedModel:
    """A model from a local Hugging Face directory, safetensors only, weights in float32, attention packed.

    dtype: what matrices are multiplied in; anything but float32 runs under autocast. Raises InitError.
    """
    config = without_dropout(read_config(path), dropout)
    model = prepare(read_weights(AutoModelForCausalLM, path, config), device, dtype)
    self_test(model, path)
    if not dropout:
        dropout_test(model)
    return model


def read_weights(auto: Any, path: Path, config: PretrainedConfig) -> PreTrainedModel:
    """The model that `auto`, a class AutoModelFor..., makes of a directory, in float32 with packed attention.

    Raises InitError, also when the files lack a weight: transformers would draw it at random and go on.
    """
    try:
        model, found = auto.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            attn_implementation=PACKED,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # transformers lets through whatever a malformed file leads to
        reason = " ".join(str(error).split())[:200]
        raise InitError(
            f"{path}: cannot be loaded with {auto.__name__} from its .safetensors files ({reason})"
        ) from None
    if found["missing_keys"]:
        raise InitError(
            f"{path}: its files lack {', '.join(sorted(found['missing_keys'])[:3])}, which {type(model).__name__} "
            f"needs; it holds another kind of model ({', '.join(config.architectures or ['unknown'])})"
        )
    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise InitError(f"{path}: {name} holds a number that is not finite; give another checkpoint of this model")
    return model


def prepare(model: PreTrainedModel, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """Put the model on its device and remember the format its matrices are multiplied in."""
    model.llmtrain_dtype = dtype  # type: ignore[assignment]  # torch's stubs know only tensors and modules as attributes
    nn.Module.to(model, device)
    return model.eval()


@torch.no_grad()
def self_test(model: PreTrainedModel, path: Path) -> None:
    """Raises InitError for a model at `path` that does not compute here what it computes in plain transformers.

    Packed sequences must give what each has alone through the model's own forward (correctness A6): logits, or under a
    scalar head, which reads the last token alone, hidden states.
    """
    whole = model.base_model if model.get_output_embeddings() is None else model
    vocab = model.config.get_text_config().vocab_size
    sequences = torch.tensor([[3, 1], [1, 5], [9, 2]], device=model.device) % vocab  # as short as any context
    row = pack(sequences.tolist()).to(model.device)
    try:
        with decoding(model), precision(model):
            seen = torch.ones_like(sequences[:1])
            alone = [whole(ids[None], attention_mask=seen, use_cache=False)[0][0] for ids in sequences]
        states, every = hidden(model, row), torch.arange(len(row.ids), device=model.device)
        packed = logits_at(model, states, every) if whole is model else wide(states)
    except (TypeError, ValueError) as error:
        raise InitError(f"{path}: {type(model).__name__} does not run with packed sequences ({error})") from None
    plain = torch.cat(alone).float()
    tolerance = SELF_TEST_TOLERANCE if model.llmtrain_dtype == torch.float32 else HALF_TOLERANCE
    if not bool(torch.isfinite(plain).all()):
        raise InitError(f"{path}: {type(model).__name__} computes numbers that are not finite; give another checkpoint")
    if float((plain - packed).abs().max()) > tolerance * max(float(plain.abs().max()), 1.0):
        raise InitError(
            f"{path}: {type(model).__name__} computes other numbers for packed sequences than for the same alone; this "
            "architecture is not supported"
        )


@torch.no_grad()
def dropout_test(model: PreTrainedModel) -> None:
    """Raises InitError when two forwards in training mode differ: some dropout is still on (correctness C4)."""
    row = pack([[0, 1]] * 32).to(model.device)
    model.train()
    once, twice = hidden(model, row), hidden(model, row)
    model.eval()
    if not torch.equal(once, twice):
        raise InitError(f"{type(model).__name__} drops out at random though every dropout field of its config is 0")


def hidden(model: PreTrainedModel, packed: Packed) -> Tensor:
    """[N, d] last hidden states behind the final norm, each sequence on its own."""
    with precision(model):
        out = model.base_model(
            input_ids=packed.ids[None],
            position_ids=packed.positions[None],
            use_cache=False,
            llmtrain_blocks=blocks(packed.bounds, packed.shared),
        )
    return out.last_hidden_state[0]


def filling(packed: Packed) -> int:
    """Slots that a forward works on beside the row's own tokens: attention's blocks are filled up, nothing else is."""
    return blocks(packed.bounds, packed.shared).filled


def logits_at(model: PreTrainedModel, states: Tensor, at: Tensor) -> Tensor:
    """[M, V] logits at the slots `at` [M], at least float32; none is computed where no loss needs it."""
    with precision(model):
        return wide(model.get_output_embeddings()(states.index_select(0, at)))


def logprobs(model: PreTrainedModel, packed: Packed, targets: Targets, temperature: float = 1.0) -> Tensor:
    """[M] log-probabilities of the targets. Rollout, reference, training, DPO and evaluation all call this."""
    return logprobs_at(model, hidden(model, packed), targets, temperature)


def logprobs_at(model: PreTrainedModel, states: Tensor, targets: Targets, temperature: float = 1.0) -> Tensor:
    """The same from `hidden`'s states."""
    if rows := _at_once(model):
        x, weight = _product(model, states, targets)
        return linear_logprobs(x, weight, targets.ids, rows, temperature)
    return token_logprobs(logits_at(model, states, targets.at), targets.ids, temperature)


def nll(model: PreTrainedModel, packed: Packed, targets: Targets) -> Tensor:
    """Sum of -log-probability over the targets: the loss where each of them weighs the same."""
    if rows := _at_once(model, summed=True):
        x, weight = _product(model, hidden(model, packed), targets)
        return summed_nll(x, weight, targets.ids, rows)
    return -logprobs(model, packed, targets).sum()


def _at_once(model: PreTrainedModel, *, summed: bool = False) -> int | None:
    """Of how many targets the logits are made at a time; None for all, as where the head is more than one matrix."""
    head = model.get_output_embeddings()
    plain = type(head) is nn.Linear and head.bias is None
    return at_once(head.out_features, summed=summed, gpu=model.device.type == "cuda") if plain else None


def _product(model: PreTrainedModel, states: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """What the head multiplies: states [M, d] in the format for it, and its weight [V, d]."""
    narrow = torch.bfloat16 if model.llmtrain_dtype == torch.bfloat16 else states.dtype
    return states.index_select(0, targets.at).to(narrow), model.get_output_embeddings().get_parameter("weight")


def save(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path, weights: dict[str, Tensor] | None = None
) -> None:
    """A plain Hugging Face directory: nothing of this program is needed to load it.

    weights: in place of the model's own.
    """
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=pad)
    model.save_pretrained(path, state_dict=weights)
    tokenizer.save_pretrained(path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Take the weights of a directory that `save` wrote, in place."""
    model.load_state_dict(read_weights(AutoModelForCausalLM, path, read_config(path)).state_dict())
