"""A causal backbone with a scalar head: reward model and critic.

Letters: N tokens of a packed row, S sequences, d width. score = head(hidden) + bias; the gain is folded into the head.
Saved as a plain Hugging Face sequence-classification directory with one label; the bias stands in config.json.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from llmtrain.data.pack import Ids, Packed, behind, by_tokens, in_common
from llmtrain.errors import CheckpointError, InitError
from llmtrain.models import causal
from llmtrain.models.attention import PACKED
from llmtrain.objectives.masked import wide

BIAS = "llmtrain_score_bias"


class ScalarModel(nn.Module):
    """A number at every token; the score of a sequence is the one at its last token."""

    bias: Tensor

    def __init__(self, model: PreTrainedModel, bias: float = 0.0):
        super().__init__()
        self.model = model
        self.register_buffer("bias", torch.tensor(bias))

    def forward(self, packed: Packed) -> Tensor:
        """[N] value at each token, of the sequence up to it, at least float32."""
        return self._head(causal.hidden(self.model, packed))

    def scores(self, packed: Packed) -> Tensor:
        """[S] score at the last token of each sequence, from its stored length (correctness B2), at least float32."""
        return self._head(causal.hidden(self.model, packed).index_select(0, packed.last))

    def judged(self, prompts: Sequence[Ids], answers: Sequence[Ids], micro_tokens: int) -> Tensor:
        """[S] scores of answers behind their prompts, in micro-batches; what stands side by side shares its prompt."""
        lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
        parts = by_tokens(lengths, micro_tokens, in_common(prompts))
        rows = (behind([prompts[i] for i in part], [answers[i] for i in part]) for part in parts)
        return torch.cat([self.scores(row.to(self.bias.device)) for row in rows])

    def _head(self, states: Tensor) -> Tensor:
        return self.model.get_submodule("score")(wide(states)).squeeze(-1) + self.bias

    @torch.no_grad()
    def normalise(self, mean: float) -> None:
        """Let those whose raw mean (at bias 0) is `mean` have mean 0 (correctness B6)."""
        self.bias.fill_(-mean)


class Head(nn.Module):
    """A number at each token from the hidden states of a model that has its own use for them; 0 at first."""

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(()))

    def forward(self, states: Tensor) -> Tensor:
        """[M, d] -> [M], at least float32."""
        return wide(states) @ self.weight + self.bias


def from_causal(model: PreTrainedModel, *, seed: int | None) -> ScalarModel:
    """The backbone of a causal model with a fresh head, N(0, 1/sqrt(d+1)) (correctness B1); without a seed of zeros."""
    labels = {"id2label": {0: "score"}, "label2id": {"score": 0}}  # transformers counts its labels here
    config = causal.without_dropout(model.config.__class__.from_dict(model.config.to_dict() | labels), 0.0)
    with torch.random.fork_rng(devices=[]):
        scorer = AutoModelForSequenceClassification.from_config(
            config, attn_implementation=PACKED, dtype=torch.float32, trust_remote_code=False
        )
    scorer.base_model.load_state_dict(model.base_model.state_dict())
    width = scorer.score.in_features
    with torch.no_grad():
        if seed is None:
            scorer.score.weight.zero_()
        else:
            scorer.score.weight.normal_(0.0, 1 / math.sqrt(width + 1), generator=torch.Generator().manual_seed(seed))
    dtype = model.llmtrain_dtype
    assert isinstance(dtype, torch.dtype)
    return _tested(ScalarModel(causal.prepare(scorer, model.device, dtype)), Path(model.name_or_path or "init"))


def load(path: Path, *, device: torch.device, dtype: torch.dtype = torch.float32) -> ScalarModel:
    """A reward model from the directory that `save` wrote. Raises InitError."""
    return _tested(_read(path, device, dtype), path)


def _tested(model: ScalarModel, path: Path) -> ScalarModel:
    """The model, held to what causal.load holds a language model to (correctness A6, C4). Raises InitError."""
    causal.self_test(model.model, path)
    causal.dropout_test(model.model)
    return model


def _read(path: Path, device: torch.device, dtype: torch.dtype) -> ScalarModel:
    config = causal.without_dropout(causal.read_config(path), 0.0)
    if config.num_labels != 1 or not any("SequenceClassification" in name for name in config.architectures or ()):
        raise InitError(
            f"{path}: not a reward model (architectures {config.architectures}); give a run of `llmtrain reward`"
        )
    model = causal.read_weights(AutoModelForSequenceClassification, path, config)
    return ScalarModel(causal.prepare(model, device, dtype), _bias(config, path)).to(device)


def _bias(config: PretrainedConfig, path: Path) -> float:
    bias = config.to_dict().get(BIAS, 0.0)
    if not isinstance(bias, int | float) or not math.isfinite(bias):
        raise InitError(f"{path}: {BIAS} in its config.json is {bias!r}, no finite number; train the judge again")
    return float(bias)


def save(model: ScalarModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """A plain Hugging Face directory: its logits plus `llmtrain_score_bias` of config.json are our scores.

    Raises CheckpointError for a bias that is not finite: JSON would hold it and every score be lost.
    """
    if not bool(torch.isfinite(model.bias)):
        raise CheckpointError(f"the bias of the reward model is {float(model.bias)}, so it is not saved in {path}")
    setattr(model.model.config, BIAS, float(model.bias))
    model.model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def load_weights(model: ScalarModel, path: Path) -> None:
    """Take the weights and the bias of a directory that `save` wrote, in place."""
    model.load_state_dict(_read(path, torch.device("cpu"), torch.float32).state_dict())
