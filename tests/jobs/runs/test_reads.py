"""What was read to load something is known, or it is known that it is not."""

import ctypes
import importlib.util
import os
import subprocess
import sys

import pytest

from cfcam.jobs.runs import reads as module
from cfcam.jobs.runs.reads import reads


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(4 * module._UNTOLD))
    return path


def test_files_that_python_opens_are_known(large, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with reads() as found:
        large.read_bytes()
        handle = os.open("weights.bin", os.O_RDONLY)
        os.read(handle, 10 * module._UNTOLD)
        os.close(handle)
    assert found.complete
    assert str(large) in found.files()
    assert module.__file__ in found.files()  # all code has a say


def test_what_is_read_before_or_after_is_not_meant(large):
    large.read_bytes()
    with reads() as found:
        pass
    large.read_bytes()
    assert str(large) not in found.files()


def test_what_a_library_reads_by_itself_is_noticed(large):
    c = ctypes.CDLL(None)
    c.fopen.restype, c.fopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
    c.fread.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
    c.fclose.argtypes = [ctypes.c_void_p]
    buffer = ctypes.create_string_buffer(4 * module._UNTOLD)
    with reads() as found:
        stream = c.fopen(os.fsencode(large), b"rb")
        assert c.fread(buffer, 1, len(buffer), stream) == 4 * module._UNTOLD
        c.fclose(stream)
    assert not found.complete


def test_a_library_that_maps_files_is_noticed():
    code = """
from cfcam.jobs.runs.reads import reads
with reads() as found:
    import safetensors
assert not found.complete
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_of_compiled_code_the_source_is_meant(tmp_path):
    source = tmp_path / "net.py"
    source.write_text("value = 1")
    for _ in range(2):  # the second time Python opens what it has compiled
        with reads() as found:
            spec = importlib.util.spec_from_file_location("a_net", source)
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        assert str(source) in found.files()
