"""What is written below a sheet, and the smaller copies that sheets are drawn of."""

from __future__ import annotations

import numpy as np
import pytest

from cfcam.imaging import read_volume
from cfcam.imaging.drawing.page import Page
from cfcam.jobs import Save
from cfcam.jobs.runs import pictures, volumes
from tests.jobs.runs.test_volumes import run as volume_run
from tests.jobs.runs.test_volumes import scan
from tests.jobs.world import NETWORKS, draw, run

LAST = "research use, not a medical device"


def test_a_sheets_footer_names_the_network_without_its_folder_and_the_layer(tmp_path, monkeypatch):
    footers = []
    said = lambda *_, footer, **__: footers.append(footer) or Page.of(np.zeros((8, 8, 3), np.uint8))  # noqa: E731
    monkeypatch.setattr(pictures, "contact_page", said)
    draw(tmp_path / "in" / "a.png")
    list(run(tmp_path / "in", tmp_path / "out", save=frozenset({Save.SHEET})))
    (footer,) = footers
    assert NETWORKS.is_absolute()
    assert footer.startswith("user_networks.py:brightness, layer features")
    assert footer.endswith(LAST)


def test_a_volumes_footers_name_the_network_without_its_folder_and_the_layer(tmp_path, monkeypatch):
    footers = []
    for name in ("volume_sheet", "slices_figure"):
        said = lambda *_, footer, **__: footers.append(footer) or np.zeros((8, 8, 3), np.uint8)  # noqa: E731
        monkeypatch.setattr(volumes, name, said)
    scan(tmp_path / "in" / "a.nii.gz")
    list(volume_run(tmp_path / "in", tmp_path / "out", save=frozenset({Save.SHEET, Save.OVERLAY})))
    assert len(footers) == 2
    assert all(footer.startswith("volume_networks.py:bright, layer features") for footer in footers)
    assert all(footer.endswith(LAST) for footer in footers)


def test_a_large_volume_is_thinned_for_its_sheet_and_each_voxel_stays_where_it_is(tmp_path, monkeypatch):
    volume = read_volume(scan(tmp_path / "a.nii.gz"))
    assert volumes._thinned(volume)[0] is volume
    monkeypatch.setattr(volumes, "_SHEET_VOXELS", volume.voxels[..., ::2, ::2, ::2].size)
    thin, index = volumes._thinned(volume)
    assert thin.size == tuple(-(-side // 2) for side in volume.size)
    at = np.array([3, 4, 5])
    assert thin.voxels[(..., *at)] == volume.voxels[(..., *(2 * at))]
    assert (thin.affine @ [*at, 1]).tolist() == pytest.approx((volume.affine @ [*(2 * at), 1]).tolist())
    heat = np.arange(np.prod(volume.size)).reshape(volume.size)
    assert heat[index][tuple(at)] == heat[tuple(2 * at)]
