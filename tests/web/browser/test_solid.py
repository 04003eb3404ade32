"""The map in 3-D: what NiiVue is given lies where the scan lies, keeps every peak, and is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

from tests.web.browser.page import DRAWN_IN_SOFTWARE, launched, opened
from tests.web.browser.shown import blob, radiograph, scan, study_map
from tests.web.server import served, settings_of

MADE_SMALLER = """([dims, greatest]) => {
  const data = new Uint8Array(dims[0] * dims[1] * dims[2]);
  data[299 + 300 * (1 + 2 * 2)] = 250; // the last voxel of the first axis, where no block has its middle
  data[151] = 9;
  const affine = [[-0.5, 0, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]];
  const small = cfcam.solid.reduced({ dims, data }, greatest);
  const back = cfcam.nifti.read(cfcam.solid.written({ affine, slope: 0.5, inter: 1 }, small));
  return { dims: back.dims, data: [...back.data], affine: back.affine, slope: back.slope, inter: back.inter };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched(DRAWN_IN_SOFTWARE) as browser:
        yield browser


def test_an_array_made_smaller_keeps_its_peak_and_its_place(browser: Any, tmp_path: Path) -> None:
    with served(settings_of(radiograph(tmp_path))) as viewer, opened(browser, viewer.address) as page:
        greatest = page.evaluate(MADE_SMALLER, [[300, 2, 3], True])
        middle = page.evaluate(MADE_SMALLER, [[300, 2, 3], False])
    # 300 voxels in blocks of 3: 100 blocks; the other axes stay
    assert greatest["dims"] == middle["dims"] == [100, 2, 3]
    values = np.array(greatest["data"]).reshape(3, 2, 100)
    assert values[2, 1, 99] == values.max() == 250
    assert values[0, 0, 50] == 9
    assert max(middle["data"]) == 9  # voxel 151 is the middle of block 50; the last voxel is no block's middle
    # the centre of a block of three is its second voxel: 10 - 0.5 mm; steps of three voxels
    assert greatest["affine"] == middle["affine"] == [[-1.5, 0, 0, 9.5], [0, 2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]]
    assert (greatest["slope"], greatest["inter"]) == (0.5, 1)


def test_the_region_of_a_map_is_drawn_into_its_scan_and_only_volumes_are_turned(browser: Any, tmp_path: Path) -> None:
    with served(settings_of(scan(tmp_path, (40, 48, 32)))) as viewer:
        (brief,) = viewer.client.get("/api/studies").json()["studies"]
        study = viewer.app.state.library.find(brief["id"])
        shape = tuple(viewer.client.get(f"/api/studies/{brief['id']}").json()["shape"])
        study.add(study_map("m-000000000001", "grad-cam", blob(shape, tuple(n * 0.4 for n in shape), 6)))
        with opened(browser, viewer.address) as page:
            page.keyboard.press("y")
            page.wait_for_selector(".solid[data-shown]")
            assert "from 0.50 of the map's maximum" in page.get_by_test_id("solid-note").inner_text()
            with_map = coloured(page)
            page.evaluate("cfcam.state.set({ maps: [] })")
            page.wait_for_selector(".solid[data-shown*='||']")
            assert with_map > 100
            assert coloured(page) == 0
    with served(settings_of(radiograph(tmp_path))) as viewer, opened(browser, viewer.address) as page:
        page.keyboard.press("y")
        assert "Only volumes can be turned" in page.get_by_test_id("solid-note").inner_text()


def coloured(page: Any) -> int:
    """Pixels of the drawing that are not grey; those of the cube in its corner, which says what is up, left out."""
    import io

    from PIL import Image

    seen = np.asarray(Image.open(io.BytesIO(page.get_by_test_id("solid").screenshot())).convert("RGB")).astype(int)
    seen[-seen.shape[0] // 5 :, : seen.shape[1] // 5] = 0
    return int((np.ptp(seen, axis=2) > 24).sum())
