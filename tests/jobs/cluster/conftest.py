"""One cluster for all tests of this folder: starting it takes longer than any of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.jobs.cluster.machines import Machines


@pytest.fixture(scope="package")
def machines() -> Iterator[Machines]:
    if find_spec("ray") is None:  # importing it here would be too early: it reads what guards it
        pytest.skip("Ray is not installed")
    before = dict(os.environ)
    machines = Machines()
    yield machines
    machines.end()
    os.environ.clear()
    os.environ |= before
