from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores; threads of one waiting for those of another cost more than they bring.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"

settings.register_profile("cfcam", deadline=None, derandomize=True)
settings.load_profile("cfcam")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real images and networks; tests that ask for it are skipped without it."""
    folder = os.environ.get("CFCAM_DATA")
    if not folder:
        pytest.skip("CFCAM_DATA is not set: the real images and networks are not here")
    return Path(folder)
