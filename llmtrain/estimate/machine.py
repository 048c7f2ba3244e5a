"""The machine that needs are held against."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """memory: bytes of one device that are free, shared by all processes on a CPU. disk: bytes free for runs.

    flops, bandwidth: what one process computes and reads in a second (on a CPU all of them together).
    """

    device: str
    memory: int
    disk: int
    flops: float
    bandwidth: float
