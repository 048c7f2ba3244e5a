"""What is set before torch loads, in processes of their own."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, os, sys
{before}
from llmtrain.launch import tuning
tuning.apply({wanted})
tuning.apply({wanted})
print(json.dumps([tuning.in_force(), os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules]))
"""
FREE = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "GOMP_", "OMP_")


def applied(wanted=True, before="", **environment):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(FREE)}
    code = CODE.format(wanted=wanted, before=before)
    done = subprocess.run(
        [sys.executable, "-c", code], env=inherited | environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_it_is_applied_before_torch():
    settings, spin, torch = applied()
    assert (settings["tune"], settings["GOMP_SPINCOUNT"], spin, torch) == (True, "1000", "1000", False)


def test_the_switch():
    assert applied(wanted=False)[:2] == [{"tune": False}, None]


def test_what_somebody_has_set_stays():
    assert applied(GOMP_SPINCOUNT="7")[0]["GOMP_SPINCOUNT"] == "7"
    assert "malloc" not in applied(MALLOC_ARENA_MAX="2")[0]
    assert "malloc" not in applied(GLIBC_TUNABLES="glibc.malloc.arena_max=1")[0]


def test_what_comes_too_late_is_not_recorded():
    late = "sys.modules['torch'] = sys"
    settings, spin, _ = applied(before=late)
    assert "GOMP_SPINCOUNT" not in settings and spin is None
    assert applied(before=late, GOMP_SPINCOUNT="1000")[0]["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
@pytest.mark.parametrize("wanted", [True, False])
def test_large_blocks_are_no_mappings_of_their_own(wanted):
    """A block of 8 MB stands in the heap then, which /proc names."""
    code = (
        "import ctypes\nfrom pathlib import Path\nfrom llmtrain.launch import tuning\n"
        f"tuning.apply({wanted})\nlib = ctypes.CDLL(None)\nlib.malloc.restype = ctypes.c_void_p\n"
        "at = lib.malloc(ctypes.c_size_t(8 << 20))\n"
        "for line in Path('/proc/self/maps').read_text().splitlines():\n"
        "    first, last = (int(x, 16) for x in line.split()[0].split('-'))\n"
        "    if first <= at < last:\n        print('[heap]' in line)\n"
        "print('malloc' in tuning.in_force())\n"
    )
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(FREE)}
    done = subprocess.run([sys.executable, "-c", code], env=inherited, capture_output=True, text=True, check=True)
    inside, set_so = done.stdout.split()
    assert inside == set_so
