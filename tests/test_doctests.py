"""The examples in docstrings give what they say they give."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest
import torch

import cfcam

SOURCE = Path(cfcam.__file__).parent
MODULES = sorted(
    ".".join(("cfcam", *path.relative_to(SOURCE).with_suffix("").parts))
    for path in SOURCE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    found = doctest.testmod(import_module(name), extraglobs={"torch": torch})
    assert found.attempted > 0
    assert found.failed == 0


def test_modules_with_examples_are_found() -> None:
    assert "cfcam.metrics.functional.robustness" in MODULES
