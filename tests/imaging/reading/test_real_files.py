"""Real files of other projects are read as SimpleITK and dcmtk read them, or the page says why not."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def real():
    pytest.importorskip("SimpleITK")
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    if any(shutil.which(program) is None for program in ("dcm2pnm", "dcmj2pnm")):
        pytest.skip("dcmtk is not installed")
    spec = importlib.util.spec_from_file_location("real_files", ROOT / "docs" / "real_files.py")
    module = importlib.util.module_from_spec(spec)
    importlib.util.sys.modules["real_files"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(real):
    return real.findings()


@pytest.mark.slow
def test_every_file_fares_as_the_page_says(real, found):
    page = real.PAGE.read_text(encoding="utf-8")
    assert page[page.index(real.BEGIN) + len(real.BEGIN) :].strip() == real.tables(found)


@pytest.mark.slow
def test_what_differs_is_explained(real, found):
    """A difference that nobody has looked into is no line of a table."""
    assert len(found) > 150
    assert {one.name for one in found if one.verdict == "differs"} <= set(real._DIFFERS)
    assert {package for one in found for package in (one.package,)} == {"pydicom", "pydicom-data", "nibabel"}


@pytest.mark.slow
def test_files_that_are_said_to_be_the_same_are(real):
    from cfcam.imaging import read_image

    where = {path.name: path for _, path in real.corpus()}
    same = [
        ("rtdose_expb.dcm", "rtdose.dcm"), ("rtdose_expb_1frame.dcm", "rtdose_1frame.dcm"),
        ("SC_rgb_rle_16bit.dcm", "SC_rgb_16bit.dcm"), ("SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_16bit.dcm"),
        ("SC_rgb_rle_32bit.dcm", "SC_rgb_32bit.dcm"), ("SC_rgb_rle_32bit_2frame.dcm", "SC_rgb_32bit.dcm"),
        ("gdcm-US-ALOKA-16_big.dcm", "gdcm-US-ALOKA-16.dcm"), ("OBXXXX1A_expb.dcm", "OBXXXX1A.dcm"),
        ("emri_small_big_endian.dcm", "emri_small.dcm"),
    ]  # fmt: skip
    for one, other in same:
        assert (read_image(where[one]).pixels == read_image(where[other]).pixels).all(), one
