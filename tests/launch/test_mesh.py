"""The processes of a run, seen from one of them."""

import pytest
import torch

from llmtrain.errors import ConfigError
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
