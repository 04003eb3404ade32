"""How a process ended, in words: what it said last is kept, however much it says, and names no folder."""

import os
import signal
import subprocess
import sys

import pytest

from cfcam.jobs.cluster.ending import Hearing, ending, last_words_of

C10 = b"""terminate called after throwing an instance of 'c10::Error'
  what():  [enforce fail at alloc_cpu.cpp:117] err == 0. you tried to allocate 8 bytes
Exception raised from alloc_cpu at ../c10/core/impl/alloc_cpu.cpp:117 (most recent call first):
frame #0: c10::ThrowEnforceNotMet(char const*) + 0x64 (0x7f in /venv/lib/libc10.so)
frame #1: <unknown function> + 0x8a
"""
SAID_BY_C10 = (
    "what(): [enforce fail at alloc_cpu.cpp:117] err == 0. you tried to allocate 8 bytes"
    " / Exception raised from alloc_cpu at alloc_cpu.cpp:117 (most recent call first):"
)
TRACE = b"""Traceback (most recent call last):
  File "/home/jane/networks.py", line 3, in <module>
    import torch
ImportError: /venv/lib/libc10.so: undefined symbol: f
"""
TWICE = " / ".join(["ImportError: libc10.so: undefined symbol: f"] * 2)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"a warning\nfree(): invalid pointer\n", "a warning / free(): invalid pointer"),
        (b"one\ntwo\nthree", "two / three"),
        (b"terminate called\n  what():  std::bad_alloc\n", "terminate called / what(): std::bad_alloc"),
        (C10, SAID_BY_C10),
        (TRACE + b"\nDuring handling of the above exception, another exception occurred:\n\n" + TRACE, TWICE),
        (TRACE, "ImportError: libc10.so: undefined symbol: f"),
        (b"cannot open /data/Jane Doe/x/scan 1.dcm: not found", "cannot open scan 1.dcm: not found"),
        (b"no such file: 'Jane Doe/scan.dcm'", "no such file: 'scan.dcm'"),
        (b"\xff\x1b[31mred\x1b[0m\x00", "�?[31mred?[0m?"),
        (b"x" * 5000, "x" * 159 + "…"),
    ],
)
def test_last_words_tell_what_happened_and_no_folder(said, words):
    assert last_words_of(said) == words


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (None, "gone", ""),
        (3, "", "the last one ended with exit code 3"),
        (-signal.SIGSEGV, "", "the last one ended by SIGSEGV"),
        (-(signal.SIGRTMIN + 1), "so", f"the last one ended by signal {signal.SIGRTMIN + 1}, and said: so"),
    ],
)
def test_the_way_a_process_ended_is_named(code, said, words):
    assert ending(code, said) == words


SAYS = "import os\nfor n in range(400): os.write(2, b'x' * 9999 + b'\\n')\nos.write(2, b'the last\\n')\n"


@pytest.mark.parametrize("then", ["", "import subprocess; subprocess.Popen(['sleep', '30'])"])
def test_a_process_that_says_much_is_not_kept_waiting_and_its_end_is_known(then):
    """Also where what it has forked still holds the stream."""
    process = subprocess.Popen([sys.executable, "-c", SAYS + then], stderr=subprocess.PIPE, start_new_session=True)
    heard = Hearing(process.stderr)
    assert process.wait() == 0
    try:
        assert heard.last().endswith("x… / the last")
        assert len(heard._kept) <= 4096
        heard.forget()
        assert heard.last() == ""
    finally:
        if then:
            os.killpg(process.pid, signal.SIGKILL)
