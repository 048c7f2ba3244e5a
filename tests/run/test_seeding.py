import hashlib
import subprocess
import sys

import numpy as np
import torch

from llmtrain.run import seeding


def test_derive_is_sha256_of_the_parts():
    digest = hashlib.sha256(b'[1, 5, "dropout"]').digest()
    assert seeding.derive(1, 5, "dropout") == int.from_bytes(digest[:8], "big") // 2


def test_different_purposes_do_not_meet():
    parts = [(s, *rest) for s in range(5) for rest in ((), (1,), ("1",), (1, 1), ("a", 1), ("a1",), (11,))]
    seeds = {seeding.derive(*p) for p in parts}
    assert len(seeds) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generator_is_the_same_in_another_process_and_leaves_the_global_one():
    before = torch.get_rng_state()
    here = torch.rand(3, generator=seeding.generator(7, "x")).tolist()
    code = "import torch, llmtrain.run.seeding as s; print(torch.rand(3, generator=s.generator(7, 'x')).tolist())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert there.strip() == str(here)
    assert torch.equal(torch.get_rng_state(), before)


def test_permutation():
    first = seeding.permutation(3, 0, 100)
    assert sorted(first.tolist()) == list(range(100))
    assert np.array_equal(first, seeding.permutation(3, 0, 100))
    for other in (seeding.permutation(3, 1, 100), seeding.permutation(4, 0, 100)):
        assert not np.array_equal(first, other)
    assert seeding.permutation(3, 0, 0).tolist() == []
