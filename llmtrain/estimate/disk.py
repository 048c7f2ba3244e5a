"""Bytes of a checkpoint, to the byte where safetensors writes it, and of all that a run keeps."""

import json
import math
from collections.abc import Iterable

from llmtrain.estimate.shape import Shape

FLOAT = 4
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # the last is one number


def safetensors(tensors: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> int:
    """The size of a file of float32 tensors: 8 bytes, a JSON header filled up to a multiple of 8, the numbers."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in sorted(tensors.items()):
        start, end = end, end + FLOAT * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-text // 8) * 8 + end


def model(shape: Shape) -> int:
    """model.safetensors as transformers writes it."""
    return safetensors(shape.tensors, {"format": "pt"})


def trainer(trained: Iterable[tuple[str, Shape]], beside: dict[str, tuple[int, ...]]) -> int:
    """trainer.safetensors: the optimizer's state of what is trained, by the prefix of its names, and `beside`."""
    tensors = dict(beside)
    for prefix, shape in trained:
        for name, size in shape.learning.items():
            tensors |= {f"optimizer.{m}.{prefix}{name}": () if m == "step" else size for m in MOMENTS}
    return safetensors(tensors)


def checkpoints(saves: int, keep_last: int, keep_best: int) -> int:
    """How many lie on the disk at the worst moment: those that are kept, and the new one before an old one goes."""
    return min(saves, keep_last + keep_best + 1)
