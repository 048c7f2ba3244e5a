"""Randomness with an owner: every draw comes from a generator derived from (seed, what for, when), never from a stream.

So resume needs no generator state, and the number of processes changes nothing.
"""

import hashlib
import json

import numpy as np
import torch


def derive(seed: int, *parts: int | str) -> int:
    """A 63-bit seed for one purpose, such as derive(seed, step, "dropout"). 1 and "1" are different parts."""
    digest = hashlib.sha256(json.dumps([seed, *parts]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *parts: int | str) -> torch.Generator:
    """A fresh CPU generator for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *parts))


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """[n] int64: the order of epoch `epoch` (0-based), a pure function of its arguments."""
    return np.random.Generator(np.random.Philox(derive(seed, "epoch", epoch))).permutation(n)
