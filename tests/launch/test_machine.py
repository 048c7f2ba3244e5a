"""What a machine has."""

import os

from llmtrain.launch import machine


def test_this_machine_is_seen(tmp_path):
    seen = machine.here(cuda=False, half=False, root=str(tmp_path / "not" / "yet"), flops=None)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < seen.memory <= total
    assert seen.disk > 0
    assert seen.flops > 1e8 and seen.bandwidth > 1e7


def test_a_given_speed_is_not_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "matmul", lambda *_: 1 / 0)
    assert machine.here(cuda=False, half=True, root=str(tmp_path), flops=5e13).flops == 5e13


def test_a_container_s_limit_counts(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("1048576\n")
    monkeypatch.setattr(machine, "CGROUP", (str(limit),))
    assert machine.here(cuda=False, half=False, root=str(tmp_path), flops=1.0).memory == 1048576
    limit.write_text("max\n")
    assert machine.here(cuda=False, half=False, root=str(tmp_path), flops=1.0).memory > 1048576
