"""The processes of a run, seen from one of them."""

import subprocess
import sys

import pytest
import torch

from llmtrain.errors import ConfigError
from llmtrain.launch import cpus, machine, mesh, tuning
from llmtrain.launch.mesh import Mesh, open_mesh

CPU = torch.device("cpu")


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shares_are_disjoint_and_together_everything(world):
    items = list(range(7))
    shares = [Mesh(rank, world, CPU, torch.float32).share(items) for rank in range(world)]
    assert sorted(x for share in shares for x in share) == items


def test_alone_every_method_is_the_identity():
    mesh = open_mesh("cpu", "auto", 0)
    assert (mesh.rank, mesh.world, mesh.first, mesh.dtype) == (0, 1, True, torch.float32)
    assert mesh.gather([1, 2]) == [1, 2]
    assert mesh.sums({"a": 2.0}) == {"a": 2.0}
    assert mesh.any(None) is None and mesh.any(15) == 15
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    mesh.add_gradients([weight])
    assert weight.grad.tolist() == [1.0, 1.0]


def test_gpu_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="launch.device=cuda"):
        open_mesh("cuda", "auto", 0)


@pytest.mark.parametrize(
    ("name", "kind", "units", "format"),
    [
        ("auto", "cpu", False, torch.float32),
        ("float32", "cpu", False, torch.float32),
        ("bfloat16", "cpu", False, torch.bfloat16),
        ("auto", "cuda", True, torch.bfloat16),
        ("auto", "cuda", False, torch.float32),  # such a GPU would emulate it
        ("float32", "cuda", True, torch.float32),
        ("bfloat16", "cuda", False, torch.bfloat16),
    ],
)
def test_the_format_is_what_the_device_is_fast_at(monkeypatch, name, kind, units, format):
    def supported(including_emulation=True):
        return units or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(machine, "matmul", lambda device, dtype: 1e9)
    assert mesh._dtype(name, torch.device(kind)) == format


def test_bfloat16_where_it_is_slow_is_told_with_what_was_measured(monkeypatch, caplog):
    speed = {torch.bfloat16: 9e9, torch.float32: 82e9}
    monkeypatch.setattr(machine, "matmul", lambda device, dtype: speed[dtype])
    open_mesh("cpu", "bfloat16", 1)
    assert "9 GFLOP/s in bfloat16 and 82 in float32" in caplog.text
    caplog.clear()
    speed[torch.bfloat16] = 500e9
    open_mesh("cpu", "bfloat16", 1)
    assert not caplog.text


@pytest.mark.parametrize(
    ("wanted", "environment", "cores", "threads"),
    [
        (0, {}, 2, 2),
        (0, {}, 64, 8),
        (3, {}, 2, 3),
        (0, {"LOCAL_WORLD_SIZE": "2"}, 6, 3),
        (0, {"OMP_NUM_THREADS": "8"}, 2, 8),
    ],
)
def test_threads_are_no_more_than_the_cores(monkeypatch, wanted, environment, cores, threads):
    for key in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(cpus, "usable", lambda: cores)
    assert mesh._threads(wanted) == threads


def test_what_a_run_computes_with_is_noted():
    before = torch.get_num_threads()
    open_mesh("cpu", "auto", 1)
    noted = tuning.in_force()
    torch.set_num_threads(before)
    assert {"threads": 1, "dtype": "float32", "device": "cpu", "flush_denormal": True}.items() <= noted.items()


def test_denormals_are_flushed_in_every_thread():
    """The smallest normal number halved, in a tensor that all threads share."""
    code = (
        "import torch\nfrom llmtrain.launch.mesh import open_mesh\nopen_mesh('cpu', 'auto', 2)\n"
        "x = torch.full((1 << 20,), torch.finfo(torch.float32).tiny)\nprint(int((x * 0.5).count_nonzero()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
