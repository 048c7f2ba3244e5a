"""A decoding step that is recorded once per shape and replayed: on a GPU a small step is bound by its launches.

Letters: n slots in use, M slots in all, T tokens of the part of the cache that is used, V vocabulary.

Shapes are rounded up, so that few recordings do for a whole batch: n to a power of two, T to a multiple of COLUMNS.
What stands in the slots and columns added takes part in no other row's numbers.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

COLUMNS = 128

Step = Callable[[int, int], Tensor]  # (n, T) -> logits [n,V]
Replay = Callable[[], Tensor]


class Recorded:
    """`step`, recorded by `record` for every rounded shape and replayed; its inputs must stay in the same memory."""

    def __init__(self, step: Step, slots: int, room: int, record: Callable[[Replay], Replay]):
        self.step, self.slots, self.room, self.record = step, slots, room, record
        self.replays: dict[tuple[int, int], Replay] = {}

    def __call__(self, n: int, used: int) -> Tensor:
        rows = min(1 << (n - 1).bit_length(), self.slots)
        shape = rows, min(-(-used // COLUMNS) * COLUMNS, self.room)
        if shape not in self.replays:
            self.replays[shape] = self.record(partial(self.step, *shape))
        return self.replays[shape]()[:n]


def cuda_graph(call: Replay) -> Replay:
    """Record a call on the GPU. It runs once beforehand on a stream of its own, as PyTorch asks for."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = call()

    def replay() -> Tensor:
        graph.replay()
        return logits

    return replay
