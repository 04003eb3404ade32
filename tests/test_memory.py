"""What was freed goes back to the system."""

import ctypes
import gc
import subprocess
import sys

import pytest

from cfcam.memory import settled


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no glibc")
def test_memory_that_was_freed_goes_back_to_the_system():
    """Blocks below a last one that stays: what is free in between the C library keeps for itself."""
    code = """
import ctypes
from pathlib import Path
from cfcam.memory import give_back

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

c = ctypes.CDLL(None)
c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [c.malloc(60_000) for _ in range(2000)]
for block in blocks:
    ctypes.memset(block, 1, 60_000)
for block in blocks[:-1]:
    c.free(block)
before = resident()
give_back()
assert before - resident() > 100_000, (before, resident())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_what_is_there_is_passed_over_while_a_run_is_followed_and_not_afterwards():
    before = gc.get_freeze_count()
    with settled():
        assert gc.get_freeze_count() > before
        cycle = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() >= 1  # garbage of the run is found all the same
    assert gc.get_freeze_count() == 0
    with pytest.raises(ValueError, match="once"), settled():
        raise ValueError("once")
    assert gc.get_freeze_count() == 0


def test_garbage_of_tiny_pictures_is_searched_for_less_often_meanwhile():
    before = gc.get_threshold()
    with settled(seldom=True):
        assert gc.get_threshold() == (10_000, *before[1:])
    with settled():
        assert gc.get_threshold() == before
    gc.set_threshold(0)
    try:
        with settled(seldom=True):
            assert gc.get_threshold()[0] == 0  # who has turned it off is right
    finally:
        gc.set_threshold(*before)
