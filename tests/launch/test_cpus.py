"""Cores that a process may use, from made-up control groups."""

import os

import pytest

from llmtrain.launch import cpus


def groups(tmp_path, membership, files):
    """A membership file and a mount that holds `files`, path -> text."""
    (tmp_path / "membership").write_text(membership)
    mount = tmp_path / "mount"
    for name, text in files.items():
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(text)
    return tmp_path / "membership", mount


V1 = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, 2.0),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "50000 50000\n"}, 1.0),
        ("0::/docker/abc\n", {"cpu.max": "400000 100000\n"}, 4.0),  # the membership tells the host's path
        ("0::/../..\n", {"cpu.max": "300000 100000\n"}, 3.0),
        ("0::/\n", {"cpu.max": "none of it\n"}, None),
        ("0::/\n", {}, None),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 2.5),
        (V1, {"cpu/docker/abc/cpu.cfs_quota_us": "50000", "cpu/docker/abc/cpu.cfs_period_us": "100000"}, 0.5),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("3:cpuset,cpu:/x\n0::/x\n", {"unified/x/cpu.max": "100000 100000\n"}, 1.0),
    ],
)
def test_the_quota_is_the_least_of_the_groups_above(tmp_path, membership, files, cores):
    assert cpus.quota(*groups(tmp_path, membership, files)) == cores


def test_no_control_groups_no_quota(tmp_path):
    assert cpus.quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(("allowed", "cores"), [(None, 6), (0.1, 1), (1.0, 1), (1.5, 2), (4.0, 4), (64.0, 6)])
def test_a_part_of_a_core_counts_as_one(monkeypatch, allowed, cores):
    monkeypatch.setattr(cpus, "affinity", lambda: 6)
    monkeypatch.setattr(cpus, "quota", lambda: allowed)
    assert cpus.usable() == cores


def test_the_affinity_is_the_scheduler_s(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert cpus.affinity() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpus.affinity() == os.cpu_count()
