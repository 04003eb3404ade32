"""Left is left: what the page shows and says of a place is what an independent reader of the same file says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

from tests.imaging.dicoms import radiograph, save
from tests.web.browser.page import launched, opened
from tests.web.browser.places import SCANS, Scan
from tests.web.server import served, settings_of

LOW, HIGH = -1100.0, 1900.0  # a window in which every value of the scans has its own grey, or nearly

LOOK = """async ([indices, window]) => {
  cfcam.state.set({ crosshair: false, smooth: false, window, maps: [] });
  const found = { axial: [], coronal: [], sagittal: [] };
  for (const plane of Object.keys(found)) {
    for (const index of indices) {
      cfcam.state.set({ plane, cursor: index });
      await cfcam.viewer.drawn();
      const canvas = document.querySelector(`[data-testid="view-${plane}"] canvas`);
      const ratio = canvas.width / canvas.clientWidth;
      const [x, y] = cfcam.viewer.pixelOf(index);
      const shown = canvas.getContext("2d").getImageData(Math.floor(x * ratio), Math.floor(y * ratio), 1, 1).data;
      found[plane].push({ x, y, shown: [...shown].slice(0, 3), said: cfcam.readout.text(index, 0),
        value: cfcam.viewer.valueAt(index).grey, under: cfcam.viewer.indexAt(x, y) });
    }
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


def along(pixels: list[float], mm: np.ndarray) -> float:
    """Correlation of places on the screen with a coordinate in the patient."""
    return float(np.corrcoef(pixels, mm)[0, 1])


@pytest.mark.parametrize("scan", SCANS, ids=lambda scan: scan.name)
def test_fifty_voxels_stand_where_an_independent_reader_has_them(browser: Any, scan: Scan, tmp_path: Path) -> None:
    given = scan.draw(tmp_path)
    places = scan.places(given)
    mm = np.array([place.mm for place in places])
    with served(settings_of(given)) as viewer:
        (brief,) = viewer.client.get("/api/studies").json()["studies"]
        affine = np.array(viewer.client.get(f"/api/studies/{brief['id']}").json()["affine"])
        indices = np.rint(np.linalg.solve(affine, np.c_[mm, np.ones(len(mm))].T).T[:, :3]).astype(int)
        with opened(browser, viewer.address) as page:
            found = page.evaluate(LOOK, [indices.tolist(), [LOW, HIGH]])
    for plane, one in found.items():
        for place, index, seen in zip(places, indices.tolist(), one, strict=True):
            assert seen["value"] == pytest.approx(place.value), (plane, place)
            assert seen["under"] == index
            grey = 255 * (place.value - LOW) / (HIGH - LOW)
            assert seen["shown"] == pytest.approx([grey] * 3, abs=1.01), (plane, place)
            assert spoken(seen["said"]) == pytest.approx(place.mm, abs=0.051 + 0.02 * place.step), (plane, place)
    x, y = ({plane: [seen[axis] for seen in one] for plane, one in found.items()} for axis in "xy")
    tilted = "oblique" in scan.name or "alone" in scan.name
    right, front, up = mm.T  # towards the patient's right is to the left on the screen
    for pixels, coordinate in (
        (x["axial"], right), (y["axial"], front), (x["coronal"], right), (y["coronal"], up),
        (x["sagittal"], front), (y["sagittal"], up),
    ):  # fmt: skip
        assert along(pixels, coordinate) < (-0.7 if tilted else -0.9999)


def spoken(said: str) -> list[float]:
    """Millimetres towards right, anterior and superior, as the page says them: "R 12.3, A 4.0, I 30.1 mm"."""
    words = said.split(" · ")[-1].removesuffix(" mm").split(", ")
    return [float(word[2:]) * (1 if word[0] in "RAS" else -1) for word in words]


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        (["L", "F"], ["R", "L", "S", "I"]),  # as a chest is looked at
        (["R", "F"], ["L", "R", "S", "I"]),  # seen from behind, or mirrored
        (["F", "R"], ["S", "I", "L", "R"]),  # lying
        (["P", "H"], ["A", "P", "I", "S"]),  # from the side, upside down
        (None, ["", "", "", ""]),
    ],
)
def test_a_radiograph_is_drawn_as_stored_with_the_letters_that_it_states(
    browser: Any, orientation: list[str] | None, letters: list[str], tmp_path: Path
) -> None:
    stored = np.full((60, 90), 400)
    stored[5:15, 70:85] = 3600  # a mark at the upper right of what is stored
    ds = radiograph(stored)
    if orientation:
        ds.PatientOrientation = orientation
    with served(settings_of(save(ds, tmp_path / "film.dcm"))) as viewer, opened(browser, viewer.address) as page:
        said = [page.get_by_test_id(f"letter-{side}").inner_text() for side in ("left", "right", "top", "bottom")]
        assert said == letters
        grey = page.evaluate("""() => [[10, 77], [10, 12], [50, 77], [50, 12]].map((index) => {
          const canvas = document.querySelector('[data-testid="view-picture"] canvas');
          const ratio = canvas.width / canvas.clientWidth;
          const [x, y] = cfcam.viewer.pixelOf(index);
          return canvas.getContext("2d").getImageData(Math.floor(x * ratio), Math.floor(y * ratio), 1, 1).data[0];
        })""")
        assert grey[0] > 200
        assert max(grey[1:]) < 60
        x, y = page.evaluate("cfcam.viewer.pixelOf([10, 77])")
        box = page.get_by_test_id("view-picture").bounding_box()
        assert x > box["width"] / 2
        assert y < box["height"] / 2
