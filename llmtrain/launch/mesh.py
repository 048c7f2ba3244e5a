"""Which processes, device, number format and threads a run uses."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from llmtrain.errors import ConfigError
from llmtrain.launch import cpus, machine, tuning
from llmtrain.launch.group import Group

log = logging.getLogger("llmtrain")


@dataclass(frozen=True)
class Mesh(Group):
    """The processes of a run, and what this one computes on."""

    device: torch.device
    dtype: torch.dtype

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over the processes. Losses are sums already divided by the global count, so this is all."""
        if self.world == 1:
            return
        for parameter in parameters:
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)


def open_mesh(device: str, dtype: str, threads: int) -> Mesh:
    """Join the processes that the launcher started (or stand alone) and set up the machine. Raises ConfigError."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError("launch.device=cuda: torch sees no GPU; use launch.device=cpu or auto")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    where = torch.device(kind, local) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(where)  # what NCCL gathers objects on; without it every process would take GPU 0
    torch.set_flush_denormal(True)  # before any thread of the pool starts: each takes over its starter's mode
    torch.set_num_threads(_threads(threads))
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if kind == "cuda" else "gloo", device_id=where if kind == "cuda" else None)
    computed = _dtype(dtype, where)
    facts = {"threads": torch.get_num_threads(), "dtype": str(computed).removeprefix("torch."), "device": kind}
    tuning.note(**facts, flush_denormal=True)
    return Mesh(rank, world, where, computed)


def _threads(wanted: int) -> int:
    """Threads of this process: as many as asked for, else what torch takes, but no more than its share of the cores."""
    if wanted or "OMP_NUM_THREADS" in os.environ:  # which torch has read
        return wanted or torch.get_num_threads()
    share = max(1, cpus.usable() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return min(torch.get_num_threads(), share)


def _dtype(name: str, device: torch.device) -> torch.dtype:
    """The compute format. auto is bfloat16 only where a GPU has units for it; weights stay float32 everywhere.

    A CPU computes in float32 unless asked: the recipes were measured so, and few have fast bfloat16.
    """
    if device.type == "cuda":
        half = name == "bfloat16" or (name == "auto" and torch.cuda.is_bf16_supported(including_emulation=False))
        return torch.bfloat16 if half else torch.float32
    if name == "bfloat16":
        _warn_if_slow(device)
        return torch.bfloat16
    return torch.float32


def _warn_if_slow(device: torch.device) -> None:
    """Few CPUs multiply bfloat16 (AVX512-BF16, AMX); the others take many times as long as for float32."""
    half, wide = (machine.matmul(device, dtype) / 1e9 for dtype in (torch.bfloat16, torch.float32))
    if half < wide:
        log.warning(
            "launch.dtype=bfloat16: this CPU multiplies %.0f GFLOP/s in bfloat16 and %.0f in float32; set it to auto",
            half,
            wide,
        )
