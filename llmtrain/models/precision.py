"""The number format in which a model multiplies matrices; its weights stay float32."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


def precision(model: PreTrainedModel) -> AbstractContextManager[None]:
    """The format that matrices are multiplied in inside the block: `load`'s dtype. Weights stay float32."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=model.llmtrain_dtype == torch.bfloat16)


@contextmanager
def narrowed(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block, where nothing may learn, matrices are kept in the format that they are multiplied in.

    The numbers are the same: without gradients autocast keeps no cast, and would make each again at every token.
    """
    whole: dict[nn.Parameter, Tensor] = {}
    if model.llmtrain_dtype == torch.bfloat16:
        spared = set(model.get_input_embeddings().parameters())  # may be the head, too, and are not multiplied as such
        linear = (module for module in model.modules() if isinstance(module, nn.Linear | Conv1D))
        whole = {p: p.data for module in linear for p in module.parameters(recurse=False) if p not in spared}
    try:
        for parameter, data in whole.items():
            parameter.data = data.to(torch.bfloat16)
        yield
    finally:
        for parameter, data in whole.items():
            parameter.data = data
