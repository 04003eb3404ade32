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


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="no glibc")
@pytest.mark.parametrize("one", [True, False])
def test_threads_take_their_memory_from_one_heap_if_they_are_told_to(one: bool) -> None:
    code = f"""
import ctypes, sys, tempfile, threading
from cfcam.memory import one_heap

if {one}:
    one_heap()
c = ctypes.CDLL(None)
c.malloc.restype, c.fdopen.restype = ctypes.c_void_p, ctypes.c_void_p
together = threading.Barrier(8)

def allocate():
    together.wait()
    for _ in range(100):
        c.malloc(1000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with tempfile.TemporaryFile() as file:
    stream = ctypes.c_void_p(c.fdopen(file.fileno(), b"w"))
    c.malloc_info(0, stream)
    c.fflush(stream)
    file.seek(0)
    print(file.read().count(b"<heap nr="))
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, timeout=300, capture_output=True, text=True)
    assert (int(found.stdout) == 1) == one


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
