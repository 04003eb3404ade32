"""What is on the screen as files: the same numbers everywhere, neutral names, the same bytes again."""

import io
import json
import zipfile
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

pytest.importorskip("fastapi", reason="the viewer needs FastAPI: pip install 'cfcam[view]'")
pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from cfcam.clinical.regions import measure  # noqa: E402
from cfcam.imaging import Image, Panel, overlay  # noqa: E402
from cfcam.web.exports.drawing import drawn  # noqa: E402
from cfcam.web.library.about import About  # noqa: E402
from cfcam.web.library.maps import StudyMap  # noqa: E402
from tests.clinical.report.test_pdf import poppler  # noqa: E402
from tests.exchange.dicom.test_write import content  # noqa: E402
from tests.exchange.phantoms import errors_of  # noqa: E402
from tests.web.answered import MODEL, NAME, PATIENT, heat_of, opened  # noqa: E402
from tests.web.server import client_of, settings_of  # noqa: E402


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("exported")) as found:
        yield found


def read_zip(answer):
    assert answer.headers["content-type"] == "application/zip", answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert all(one.compress_type == zipfile.ZIP_STORED for one in archive.infolist())
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("kind", ["CR", "CT", "PNG"])
@pytest.mark.parametrize("form", ["png", "json"])
def test_a_file_has_a_neutral_name_and_the_same_bytes_again(viewer, kind, form):
    answer = viewer.export(kind, form, (0, 1))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == f'attachment; filename="{viewer.ids[kind]}.{form}"'
    assert viewer.export(kind, form, (0, 1)).content == answer.content
    for planted in (NAME, "Zyxwv", PATIENT, "PLANTED", "19430217"):
        assert planted.encode() not in answer.content


def _text(pdf, folder):
    """The words of a PDF's pages, what it says of itself, and its attachments."""
    path = folder / "exported.pdf"
    path.write_bytes(pdf)
    (folder / "attached").mkdir()
    poppler("pdfdetach", "-saveall", "-o", folder / "attached", path)
    attached = "".join(file.read_text() for file in (folder / "attached").iterdir())
    return poppler("pdftotext", path, "-") + poppler("pdfinfo", path) + poppler("pdfinfo", "-meta", path) + attached


def test_no_file_names_the_file_of_a_picture(tmp_path):
    pixels = np.random.default_rng(3).integers(0, 255, (24, 20), np.uint8)
    (tmp_path / "ward").mkdir()
    PILImage.fromarray(pixels).save(tmp_path / "ward" / "Mueller^Hans 1950.png")
    with client_of(settings_of(tmp_path / "ward")) as client:
        (study,) = client.app.state.library.studies()
        study.add(StudyMap("m-" + "0" * 12, "grad-cam", 1, "nodule", lambda: heat_of((24, 20), 0), about=About(MODEL)))
        body = {"study": study.id, "maps": ["m-" + "0" * 12]}
        made = {kind: client.post("/api/exports", json=body | {"format": kind}) for kind in ("png", "pdf", "json")}
    assert all(answer.status_code == 200 for answer in made.values()), [answer.text[:200] for answer in made.values()]
    picture = PILImage.open(io.BytesIO(made["png"].content))
    said = {"png": str(picture.info), "pdf": _text(made["pdf"].content, tmp_path), "json": made["json"].text}
    for kind, words in said.items():
        for planted in ("Mueller", "Hans", "1950", "ward"):
            assert planted not in words, kind
            assert planted.encode() not in made[kind].content, kind
    assert study.id in said["pdf"]
    assert json.loads(said["json"])["name"] == study.id


def test_the_title_of_a_sheet_is_neutral_too(tmp_path, monkeypatch):
    from cfcam.web.exports import drawing

    titles = []
    monkeypatch.setattr(drawing, "drawn", lambda *_, title, **__: titles.append(title) or b"")
    PILImage.fromarray(np.zeros((24, 20), np.uint8)).save(tmp_path / "Mueller^Hans 1950.png")
    with client_of(settings_of(tmp_path)) as client:
        (study,) = client.app.state.library.studies()
        study.add(StudyMap("m-" + "0" * 12, "grad-cam", 1, "nodule", lambda: heat_of((24, 20), 0), about=About(MODEL)))
        client.post("/api/exports", json={"study": study.id, "maps": ["m-" + "0" * 12], "format": "png"})
    assert titles == [study.id]


@pytest.mark.parametrize("kind", ["CR", "CT"])
def test_json_and_dicom_say_the_same_numbers_as_the_regions(viewer, tmp_path, kind):
    study = viewer.client.app.state.library.find(viewer.ids[kind])
    heat = heat_of(study.facts().shape, 0)
    expected = measure(
        torch.from_numpy(heat), study.image().spacing, 0.5, affine=study.image().affine
    )["map"]  # fmt: skip
    numbers = json.loads(viewer.export(kind, "json", view={"threshold": 0.5}).content)
    (one,) = numbers["maps"]
    (region,) = one["regions"]["regions"]
    assert (region["size"], region["unit"], region["count"]) == (expected.size, expected.unit, expected.count)
    assert one["regions"]["threshold"] == 0.5
    assert (one["probability"], one["class_name"], one["method"]) == (0.75, "nodule", "grad-cam")
    assert numbers["model"]["weights_sha256"] == "ab" * 32
    assert numbers["source"]["sha256"] == study.image().sha256
    files = read_zip(viewer.export(kind, "dicom", dicom=["sr", "seg"], view={"threshold": 0.5}))
    report = pydicom.dcmread(io.BytesIO(next(data for name, data in files.items() if name.startswith("sr_"))))
    size = content(report, {"mm²": "Area", "mm³": "Volume"}.get(expected.unit, "Number of pixels in the region"))[0]
    assert float(size.MeasuredValueSequence[0].NumericValue) == pytest.approx(expected.size, rel=1e-8)
    probability = content(report, "Probability of the class, as the model gives it")[0]
    assert float(probability.MeasuredValueSequence[0].NumericValue) == 0.75
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert errors_of("dciodvfy", tmp_path / name) == []


def test_each_dicom_object_can_be_had_and_is_the_same_again(viewer):
    for kind in ("sc", "pm", "seg", "sr", "gsps"):
        answer = viewer.export("CT", "dicom", dicom=[kind])
        assert answer.status_code == 200, answer.text
        assert answer.content == viewer.export("CT", "dicom", dicom=[kind]).content
        alone = answer.headers["content-type"] == "application/dicom"
        assert alone == (kind in ("sc", "pm", "gsps"))  # a report comes with its region, fractions with the region
        if alone:
            assert pydicom.dcmread(io.BytesIO(answer.content)).StudyInstanceUID == "1.2.1"
    everything = read_zip(viewer.export("CT", "dicom"))
    assert {name.partition("_")[0] for name in everything} == {"pm", "seg-fractional", "seg-binary", "sr", "sc", "gsps"}


def test_a_parametric_map_holds_the_values_of_the_map(viewer):
    answer = viewer.export("CT", "dicom", dicom=["pm"])
    study = viewer.client.app.state.library.find(viewer.ids["CT"])
    stored = np.frombuffer(pydicom.dcmread(io.BytesIO(answer.content)).FloatPixelData, "<f4")
    assert sorted(stored) == sorted(heat_of(study.facts().shape, 0).ravel())


def holds(page, picture):
    """Whether a picture stands on a page, pixel by pixel."""
    height, width = picture.shape[:2]
    rows, columns = (n - m + 1 for n, m in zip(page.shape[:2], picture.shape[:2], strict=True))
    corners = np.argwhere((page[:rows, :columns] == picture[0, 0]).all(axis=2))
    return any(np.array_equal(page[y : y + height, x : x + width], picture) for y, x in corners)


@pytest.mark.parametrize("blend", ["value", "uniform", "contour"])
def test_the_png_holds_the_picture_and_the_map_over_it_pixel_by_pixel(tmp_path, blend):
    grey = np.random.default_rng(4).integers(0, 255, (150, 120), np.uint8)
    PILImage.fromarray(grey).save(tmp_path / "large.png")
    heat = heat_of((150, 120), 3)
    view = {"palette": "viridis", "opacity": 0.7, "blend": blend, "threshold": 0.4}
    with client_of(settings_of(tmp_path / "large.png")) as client:
        (study,) = client.app.state.library.studies()
        study.add(StudyMap("m-" + "0" * 12, "grad-cam", 1, "nodule", lambda: heat))
        body = {"study": study.id, "maps": ["m-" + "0" * 12], "format": "png", "view": view}
        page = np.asarray(PILImage.open(io.BytesIO(client.post("/api/exports", json=body).content)))
    original = np.repeat(grey[..., None], 3, axis=2)
    assert holds(page, original)
    assert holds(page, overlay(original, heat, **view))


def test_the_png_says_where_left_is_where_the_screen_does():
    grey = np.full((150, 120), 90, np.uint8)
    picture, panels = np.repeat(grey[..., None], 3, axis=2), [Panel(heat_of((150, 120), 3), "grad-cam", "nodule")]
    look = {"palette": "ember", "opacity": 0.5, "blend": "value"}
    bare, told = (
        np.asarray(PILImage.open(io.BytesIO(drawn(image, picture, panels, look, title="a", footer="b"))))
        for image in (Image(grey, None, ""), Image(grey, None, "", edges=("L", "I")))
    )
    assert holds(bare, picture)
    assert not holds(told, picture)
    edges = (bare != told).any(axis=2).any(axis=0)
    assert edges.sum() > 40  # R, L, S and I, in each of the two panels


def test_a_window_changes_what_lies_under_the_map(viewer):
    for kind in ("CR", "CT"):
        plain = viewer.export(kind, "png").content
        assert viewer.export(kind, "png", view={"window": [0, 100]}).content != plain


def test_a_common_scale_draws_the_fainter_map_fainter(viewer):
    own = viewer.export("PNG", "png", (0, 1))
    common = viewer.export("PNG", "png", (0, 1), view={"scale": "common"})
    assert own.status_code == common.status_code == 200
    assert own.content != common.content


def test_the_page_gives_its_whole_view_and_what_is_not_drawn_changes_nothing(viewer):
    view = {"study": viewer.ids["CR"], "tool": "none", "panel": "export", "cursor": [1, 2], "zoom": 2, "pan": [0, 0],
            "threshold": None, "window": None, "scale": "own"}  # fmt: skip
    assert viewer.export("CR", "png", view=view).content == viewer.export("CR", "png").content


def test_a_volume_is_cut_where_the_cursor_is(viewer):
    here = viewer.export("CT", "png", view={"cursor": [0, 2, 2]})
    assert here.status_code == 200, here.text
    assert here.content != viewer.export("CT", "png").content
    assert viewer.export("CT", "png", view={"cursor": [99, 2, 2]}).status_code == 422
    two = viewer.export("CT", "png", (0, 1), view={"cursor": [0, 2, 2]})
    assert two.content != viewer.export("CT", "png", (0, 1)).content


def test_the_report_is_a_pdf_with_the_numbers_in_it(viewer):
    if find_spec("weasyprint") is None:  # not importorskip: imported so, it changes what Pillow reads
        pytest.skip("a report as PDF needs WeasyPrint: pip install 'cfcam[report]'")
    answer = viewer.export("CR", "pdf", (0, 2))
    if answer.status_code == 422 and "Pango" in answer.text:
        pytest.skip("Pango is not installed")
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b"%PDF-")
    assert answer.content == viewer.export("CR", "pdf", (0, 2)).content
    assert b"Zyxwv" not in answer.content


def test_what_cannot_be_exported_is_said_in_one_line(viewer):
    answer = viewer.export("PNG", "dicom")
    assert (answer.status_code, "no DICOM" in answer.json()["error"]) == (409, True)
    assert viewer.export("CR", "png", ()).status_code == 422
    assert viewer.export("CR", "gif").status_code == 422
    assert viewer.export("CR", "png", view={"opacity": "much"}).status_code == 422
    assert viewer.export("CR", "png", view={"palette": "no-such"}).status_code == 422
    assert viewer.export("CR", "png", (77,)).status_code == 404
    for answer in (viewer.export("PNG", "dicom"), viewer.export("CR", "png", (77,))):
        assert list(answer.json()) == ["error"]
        assert "\n" not in answer.json()["error"]


def test_maps_that_do_not_go_together_are_in_no_report(viewer):
    from dataclasses import replace

    study = viewer.client.app.state.library.find(viewer.ids["PNG"])
    one = study.map(viewer.map("PNG"))
    study.add(replace(one, id=viewer.map("PNG", 40), layer="layer3"))
    study.add(replace(one, id=viewer.map("PNG", 41), kind="uncertainty"))
    layers = viewer.export("PNG", "json", (0, 40))
    assert (layers.status_code, "layers" in layers.json()["error"]) == (409, True)
    assert viewer.export("PNG", "json", (41,)).status_code == 409
    assert viewer.export("PNG", "png", (0, 40, 41)).status_code == 200


def test_no_dicom_object_of_unknown_weights(viewer):
    from dataclasses import replace

    study = viewer.client.app.state.library.find(viewer.ids["CR"])
    study.add(replace(study.map(viewer.map("CR")), id=viewer.map("CR", 42), about=None))
    answer = viewer.export("CR", "dicom", (42,))
    assert (answer.status_code, "weights" in answer.json()["error"]) == (409, True)
    assert viewer.export("CR", "json", (42,)).json()["model"]["weights_sha256"] == ""
