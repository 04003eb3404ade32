"""What stands in a report: the numbers, the words, the pictures; and that the page needs nothing else."""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from cfcam.clinical.checks.results import CheckResult, Outcome
from cfcam.clinical.origin import Origin
from cfcam.clinical.regions import measure
from cfcam.clinical.report import study_numbers, words, write_report
from cfcam.clinical.report.page import render
from cfcam.clinical.report.pictures import outline
from cfcam.clinical.report.planes import planes_of
from cfcam.clinical.study_result import MapResult, ModelIdentity, StudyResult, Uncertainty
from cfcam.errors import InputError
from cfcam.imaging.drawing.overlay import overlay
from cfcam.imaging.drawing.palettes import table
from cfcam.imaging.measured import Measured

HEIGHT, WIDTH = 240, 320
SHA = "0123456789abcdef" * 4
CLASSES = ("no finding", "nodule", "effusion")
MODEL = ModelIdentity("chest-net", "2.1", SHA, "features.denseblock4", CLASSES)


def blob(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    """A Gaussian hill with its maximum, 1, at the centre."""
    axes = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    distance = sum((axis - at) ** 2 for axis, at in zip(axes, centre, strict=True))
    return np.exp(-distance / (2 * radius**2)).astype(np.float32)


def map_of(heat: np.ndarray, method: str = "grad-cam", name: str = "nodule", **more) -> MapResult:
    status, probability = more.pop("status", "ok"), more.pop("probability", 0.8134)
    regions = measure(
        torch.from_numpy(heat),
        more.pop("spacing", None),
        more.pop("threshold", 0.5),
        more.pop("masks", None),
        affine=more.pop("affine", None),
    )
    return MapResult(
        method, CLASSES.index(name) if name in CLASSES else 9, name, probability, status, heat, regions, more
    )


def picture_study(**changes) -> StudyResult:
    """Two methods for one class, one for another; everything is known."""
    grey = (np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) * 255 / (HEIGHT + WIDTH)).astype(np.uint8)
    spacing = (0.5, 0.5)
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[30:90, 40:200] = True
    near, far = blob(grey.shape, (60, 80), 15), blob(grey.shape, (150, 250), 25)
    maps = (
        map_of(near, spacing=spacing, masks={"left lung": mask}, bins=3),
        map_of(np.maximum(near, far * np.float32(0.8)), "cf-cam", spacing=spacing),
        map_of(far, name="effusion", spacing=spacing, probability=0.25),
    )
    checks = (
        CheckResult("organ: energy", Outcome.PASS, 0.912, 0.5, "share of the map's energy in the organ"),
        CheckResult("artefact: enrichment", Outcome.FLAG, 5.43, 3.0, "share of energy over share", "ratio"),
        CheckResult("findings: covered", Outcome.NOT_ASSESSED, None, None, "the mask of the findings is empty"),
    )
    samples = np.stack([near, far])
    varied = Uncertainty(
        "mc-dropout", 20, "grad-cam", 1, "nodule", samples.mean(0), samples.std(0),
        (samples >= 0.4).mean(0, dtype=np.float32), 0.4, 0.612, 0.78, 0.0456, 0.523, 0.0712, "one module of dropout",
    )  # fmt: skip
    study = StudyResult(
        name="case-7", picture=grey, source_sha256=SHA[::-1], model=MODEL,
        probabilities={"no finding": 0.1, "nodule": 0.8134, "effusion": 0.25}, maps=maps, pseudonym="P-17",
        spacing=spacing, modality="DX", checks=checks, uncertainty=(varied,), limits=("Masks were drawn by hand.",),
        provenance={"cfcam": "1.2.3", "preprocess": {"size": [224, 224]}}, record_id="rec-000042",
    )  # fmt: skip
    return replace(study, **changes)


AFFINE = np.array([[0, 0, -1.0, 25], [0, -1.0, 0, 30], [2.0, 0, 0, -10], [0, 0, 0, 1]])
"""Slices go to superior, rows to posterior, columns to the patient's left."""
VOLUME = (12, 40, 50)


def volume_study(**changes) -> StudyResult:
    heat = blob(VOLUME, (3, 10, 12), 4)
    maps = (map_of(heat, affine=AFFINE), map_of(heat * 0, "cam", affine=AFFINE, status="no positive evidence"))
    voxels = np.random.default_rng(0).normal(0, 100, VOLUME).astype(np.float32)
    study = StudyResult(
        name="volume-1", picture=voxels, source_sha256=SHA, model=MODEL, probabilities={"nodule": 0.8134}, maps=maps,
        window=(-200.0, 200.0), spacing=(2.0, 1.0, 1.0), affine=AFFINE, modality="CT",
    )  # fmt: skip
    return replace(study, **changes)


def empty_study() -> StudyResult:
    """A map without evidence, and nothing known that may be missing."""
    empty = np.zeros((HEIGHT, WIDTH), np.float32)
    nothing = Uncertainty("methods", 1, "several", 1, "nodule", empty, empty, empty, 0.5, None)
    return StudyResult(
        name="bare", picture=np.zeros((HEIGHT, WIDTH), np.uint8), source_sha256="", model=MODEL, probabilities={},
        maps=(map_of(empty, probability=None, status="no positive evidence"),), uncertainty=(nothing,),
    )  # fmt: skip


ORIGIN = Origin(
    "2021-03-04", "shifted by de-identification", "chest", "PA (back to front)",
    uids={"study": "2.25.17", "series": "0123456789abcdef"},
)  # fmt: skip


class Page(HTMLParser):
    """The elements of a page, and its text without styles and scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.pieces: list[str] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("style", "script", "title"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.pieces))

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [
            found
            for name, found in self.elements
            if name == tag and all(value in found.get(key.strip("_"), "").split() for key, value in attributes.items())
        ]


def decoded(uri: str) -> PILImage.Image:
    kind, data = uri.split(",")
    assert kind == "data:image/png;base64"
    return PILImage.open(BytesIO(base64.b64decode(data)))


# --- numbers and words


def test_numbers_have_three_digits_and_never_an_exponent():
    assert [words.number(v) for v in (0, 0.8134, 3.14159, 45.67, 123.4, 1234567.0)] == [
        "0", "0.813", "3.14", "45.7", "123", "1234567",
    ]  # fmt: skip
    assert words.number(1e-9) == "< 0.001"
    assert words.number(-1e-9) == "> -0.001"
    assert {words.number(v) for v in (None, math.nan, math.inf)} == {"not known"}


def test_no_probability_is_shown_as_one_or_as_zero():
    assert words.probability(0.9996) == "0.9996"
    assert {words.probability(p) for p in (0.99999, 1.0)} == {">0.9999"}
    assert {words.probability(p) for p in (0.00001, 0.0)} == {"<0.0001"}
    assert {words.probability(p) for p in (None, math.nan)} == {"not known"}


def test_large_sizes_are_given_in_cm_too():
    assert words.size(84.04, "mm²") == "84.0 mm²"
    assert words.size(1230.0, "mm²") == "1230 mm² (12.3 cm²)"
    assert words.size(45600.0, "mm³") == "45600 mm³ (45.6 cm³)"
    assert words.size(45600.0, "voxels") == "45600 voxels"


def test_the_direction_of_a_limit_follows_from_the_outcome():
    def said(outcome: Outcome, value: float) -> str:
        return words.limit(CheckResult("c", outcome, value, 0.5, ""))

    assert said(Outcome.PASS, 0.9) == said(Outcome.FLAG, 0.1) == "at least 0.500"
    assert said(Outcome.PASS, 0.1) == said(Outcome.FLAG, 0.9) == "at most 0.500"
    assert said(Outcome.PASS, 0.5) == "0.500"


def test_a_threshold_is_told_with_its_rule():
    heat = torch.tensor([[0.0, 0.1, 0.9, 1.0]])
    assert words.threshold(measure(heat)).endswith("(by Otsu)")
    assert words.threshold(measure(heat, None, 0.25)) == "threshold 0.250 (fixed)"
    assert words.threshold(measure(heat, None, "quantile:0.75")) == "threshold 0.900 (the 75.0% quantile)"
    assert words.threshold(measure(heat * 0)) == "threshold not known (by Otsu)"


def test_every_number_of_the_region_tables_is_in_the_report():
    study = picture_study()
    text = Page(render(study)).text
    for one in study.maps:
        assert "threshold 0.500 (fixed)" in text
        for region in one.regions.regions:
            for shown in (
                " ".join(words.size_lines(region.size, region.unit)),
                " ".join(words.size_lines(region.largest, region.unit)),
                f"{region.count} pixels",
                f"{words.number(region.mean)} ± {words.number(region.sd)}",
                words.number(region.maximum),
                words.number(region.energy),
                words.index(region.peak),
                words.millimetres(region.peak_mm),
                words.index(region.centroid),
                words.millimetres(region.centroid_mm),
            ):
                assert shown in text
    # by hand: 60 x 160 pixels of 0.25 mm²; the peak at row 60, column 80
    assert "left lung 9600 pixels 2400 mm² 24.0 cm²" in text
    assert "row 60, column 80 30.0, 40.0 mm" in text


def test_places_in_the_patient_are_shown_where_they_are_known():
    text = Page(render(volume_study())).text
    # AFFINE @ (3, 10, 12, 1) = (13, 20, -4)
    assert "slice 3, row 10, column 12" in text
    assert "R 13.0 mm, A 20.0 mm, I 4.0 mm" in text


def test_identity_of_model_source_and_record_is_in_the_report():
    text = Page(render(picture_study())).text
    for fact in (
        "P-17",
        "chest-net, version 2.1",
        SHA,
        SHA[::-1],
        "features.denseblock4",
        "rec-000042",
        "nodule 0.813",
    ):
        assert fact in text.replace("nodule explained below 0.813", "nodule 0.813")
    assert "Masks were drawn by hand." in text
    assert "preprocess, size [224, 224]" in text
    assert 'method grad-cam {"bins": 3}' in text
    assert "Research use only. Not a medical device." in text
    assert "it is not a finding" in text


def test_the_five_most_probable_classes_and_every_explained_one_are_listed():
    many = {f"class {n}": n / 100 for n in range(20)} | {"nodule": 0.001, "effusion": 0.0}
    text = Page(render(picture_study(probabilities=many))).text
    assert [name for name in many if f"{name} " in text.split("What the network answered")[1].split("Where it")[0]] == [
        "class 15", "class 16", "class 17", "class 18", "class 19", "nodule", "effusion",
    ]  # fmt: skip
    assert "15 less probable classes are left out here." in text


def test_checks_are_told_by_word_and_sign():
    html = render(picture_study())
    table_ = html.split('class="checks"')[1].split("</table>")[0]
    rows = [Page(row).text.strip() for row in table_.split("<tr")[2:]]
    assert [re.sub(r"^.*?> ", "", row).split(" ")[0] for row in rows] == ["flag", "not", "pass"]
    assert "5.43 at most 3.00" in rows[0]
    assert rows[1].endswith("not assessed findings: covered the mask of the findings is empty")
    assert "0.912 at least 0.500" in rows[2]
    shapes = re.findall(r"<svg class=\"symbol\".*?</svg>", table_)
    assert len(shapes) == len(set(shapes)) == 3


def test_uncertainty_is_shown_with_all_its_numbers():
    page = Page(render(picture_study()))
    section = page.text.split("How much the map varies")[1]
    for fact in ("20 samples", "0.612", "0.780 ± 0.046", "0.523 nats", "0.071 nats", "one module of dropout"):
        assert fact in section
    assert {"Mean map", "Spread", "How often marked"} <= set(re.findall(r"Mean map|Spread|How often marked", section))


def test_the_summary_names_answer_place_flags_and_agreement():
    text = Page(render(picture_study())).text.split("What the network answered")[0]
    assert "strongest answer is “nodule”, probability 0.813" in text
    assert (
        "grad-cam points most strongly to: upper left third of the picture (patient side not stated). Its peak:"
        " stability not measured." in text
    )
    assert "row 60" not in text
    assert "Of 3 checks, 1 flagged, 1 passed, 1 not assessed." in text
    assert "1 check flagged: artefact: enrichment." in text
    assert "How far repeated maps overlap (1 is the same map, 0 nothing): dropout samples: 0.612 over 20" in text


def test_what_is_missing_has_no_row_and_no_section():
    page = Page(render(empty_study()))
    assert "None" not in page.text
    assert "nan" not in page.text
    assert "The probabilities are not known." in page.text
    assert "Left and right of the patient are not known" in page.text
    assert "1 of 1 map cannot be read (grad-cam for “nodule”: no positive evidence)." in page.text


@pytest.mark.parametrize(
    "absent",
    [
        "Patient (pseudonym)", "Study date", "Body part", "View", "Audit record", "Source, SHA-256", "UID", "mm",
        "Entropy", "Mutual information", "Overlap of the maps", "Regions in numbers", "Checks of the first map",
        "No check was made",
    ],
)  # fmt: skip
def test_rows_that_cannot_apply_are_left_out(absent):
    assert absent not in Page(render(empty_study())).text
    assert absent == "No check was made" or absent in Page(render(picture_study(origin=ORIGIN))).text


def test_what_was_not_asked_for_is_left_out():
    text = Page(render(picture_study(uncertainty=(), checks=()))).text
    assert "How much the map varies" not in text
    assert "Checks of the first map" not in text
    assert "not measured: how much" not in text.lower()
    assert "windows" not in Page(render(picture_study(provenance={"windows": None, "cfcam": "1"}))).text


def test_a_picture_without_spacing_has_no_row_in_mm():
    text = Page(render(picture_study(spacing=None, maps=(map_of(blob((HEIGHT, WIDTH), (60, 80), 15)),)))).text
    regions = text.split("Regions in numbers")[1].split("Checks of")[0]
    assert " mm" not in regions
    assert "sizes are counted in pixels" in regions


def test_agreement_of_methods_is_not_called_certainty():
    (varied,) = picture_study().uncertainty
    methods = replace(varied, source="methods", samples=2, probability_mean=None, entropy=None, mutual_information=None)
    text = Page(render(picture_study(uncertainty=(methods,)))).text
    assert "Maps of 2 methods overlap by 0.612. Methods that read the same layer agree by construction" in text
    assert "How far repeated maps" not in text
    section = text.split("How much the map varies")[1].split("What this report does not say")[0]
    assert section.count("agree by construction") == 2
    assert "Entropy" not in section
    assert not re.search(r"how (sure|certain)|confiden", text, re.IGNORECASE)


def test_the_map_of_an_unlikely_class_says_so():
    text = Page(render(picture_study())).text
    assert "effusion probability 0.250 map of a class with p = 0.25: not what the network predicts" in text
    assert "nodule probability 0.813 map of" not in text
    unlikely = picture_study(maps=picture_study().maps[2:])
    assert "This is a map of a class with p = 0.25: not what the network predicts." in Page(render(unlikely)).text
    strongest = picture_study(maps=picture_study().maps[2:], probabilities={"a": 0.2, "effusion": 0.25})
    assert "p = 0.25: the strongest answer, and a doubtful one" in Page(render(strongest)).text
    assert words.unlikely(0.001, 0.9) == "map of a class with p = 0.001: not what the network predicts"
    assert words.unlikely(1e-9, 0.9) == "map of a class with p <0.0001: not what the network predicts"


def test_a_contrast_has_its_margin_and_its_meaning_where_others_have_a_probability():
    first, *others = picture_study().maps
    contrast = replace(first, class_name="nodule against effusion", probability=None, margin=1.234)
    study = picture_study(maps=(contrast, *others))
    text = Page(render(study)).text
    assert "nodule against effusion margin +1.23 (logit of the first class less that of the second" in text
    assert study_numbers(study)["maps"][0]["margin"] == 1.234
    assert study_numbers(study)["maps"][1]["margin"] is None


def test_the_study_can_be_matched_by_date_body_part_view_and_pseudonyms():
    text = Page(render(picture_study(origin=ORIGIN))).text
    for fact in (
        "Study date 2021-03-04 (shifted by de-identification)",
        "Body part chest",
        "View PA (back to front)",
        "Study UID, pseudonym 2.25.17",
        "Series UID, first 16 digits of its SHA-256 0123456789abcdef",
    ):
        assert fact in text, fact
    numbers = study_numbers(picture_study(origin=ORIGIN))["study"]
    assert (numbers["date"], numbers["body_part"], numbers["uids"]["study"]) == ("2021-03-04", "chest", "2.25.17")


def test_a_study_without_maps_or_anything_else_has_a_report():
    text = Page(render(replace(empty_study(), maps=(), uncertainty=()))).text
    assert "No map was made." in text
    assert "Regions in numbers" not in text


# --- pictures


@pytest.mark.parametrize("blend", ["value", "uniform"])
def test_layers_add_up_to_the_overlay(blend):
    study = picture_study()
    html = render(study, opacity=0.3, palette="magma", blend=blend)
    page = Page(html)
    heat = decoded(page.all("img", class_="heat")[0]["src"])
    under = decoded(re.search(r"\.under-1 \{ background-image: url\((data:[^)]*)\)", html)[1])
    assert ".heat { opacity: 0.3; }" in html
    assert heat.mode == "P"
    assert heat.getpalette() == table("magma").ravel().tolist()
    drawn, base = np.asarray(heat.convert("RGBA"), float), np.asarray(under.convert("RGB"), float)
    # a browser takes the picture's own opacity times that of the page: by value as far as the map, else all of it
    share = 0.3 * drawn[..., 3:] / 255
    assert share.min() == 0 if blend == "value" else share.min() == share.max()
    look = {"opacity": 0.3, "palette": "magma", "blend": blend, "threshold": None}
    expected = overlay(np.repeat(study.picture[..., None], 3, 2), study.maps[0].heatmap, **look)
    assert np.abs(share * drawn[..., :3] + (1 - share) * base - expected).max() <= 0.5 + 1e-4


def test_a_picture_is_in_the_page_once_however_many_maps_lie_over_it():
    html = render(picture_study())
    assert html.count("background-image: url(") == 1
    # the original beside each map, and beside the mean of what varies
    assert len(Page(html).all("div", class_="under-1")) == 3 + 3 + 3 + 1


def test_every_map_stands_beside_the_original_class_by_class():
    html = render(picture_study()).split('id="maps"')[1].split("</section>")[0]
    titles = re.findall(r"<figcaption><b>(.*?)</b>|<h3>(\S+)", html)
    assert [a or b for a, b in titles] == [
        "nodule",
        "Original",
        "grad-cam",
        "Original",
        "cf-cam",
        "effusion",
        "Original",
        "grad-cam",
    ]


def test_every_picture_with_a_map_has_a_colour_bar_with_its_threshold():
    page = Page(render(picture_study()))
    assert len(page.all("img", class_="heat")) == len(page.all("div", class_="bar")) == 6
    assert page.text.count("share of this map's highest value") == 3
    assert page.text.count("▲ threshold 0.500 (fixed)") == 3
    assert "standard deviation over the samples" in page.text
    assert "share of samples at or above 0.400" in page.text


def test_a_map_that_cannot_be_read_is_named_and_not_drawn():
    page = Page(render(replace(empty_study(), uncertainty=())))
    assert not page.all("img", class_="heat")
    assert not page.all("svg", class_="marks")
    assert len(page.all("img", class_="dimmed")) == 1
    assert "No map: no positive evidence" in page.text


def area(path: str) -> float:
    total = 0.0
    for part in re.findall(r"M([^Z]*)Z", path):
        points = np.array([[float(v) for v in p.split(",")] for p in part.split()])
        x, y = points.T
        total += abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    return total


def test_the_outline_encloses_the_region():
    heat = blob((120, 160), (50, 70), 15)
    marked = int((heat >= 0.5).sum())
    assert area(outline(heat, 0.5)) == pytest.approx(marked, rel=0.02)
    # a circle of radius 15 sqrt(2 ln 2) about the middle of pixel (50, 70)
    points = np.array([[float(v) for v in p.split(",")] for p in outline(heat, 0.5)[1:-1].split()])
    assert np.hypot(points[:, 0] - 70.5, points[:, 1] - 50.5) == pytest.approx(15 * math.sqrt(2 * math.log(2)), abs=0.1)


def test_the_outline_is_closed_at_the_border_and_found_at_the_maximum():
    edge = np.zeros((20, 20), np.float32)
    edge[:, 10:] = 1
    assert area(outline(edge, 0.5)) == pytest.approx(200, rel=0.01)
    point = np.zeros((20, 20), np.float32)
    point[5, 5] = 1
    assert outline(point, 1.0)
    assert outline(point * 0, 0.5) == ""


def test_the_peak_is_marked_where_the_table_says():
    html = render(picture_study())
    cross = re.search(r'class="cross" d="M([\d.]+),([\d.]+) L([\d.]+)', html)
    assert (float(cross[1]) + float(cross[3])) / 2 == pytest.approx(80.5, abs=0.1)
    assert float(cross[2]) == pytest.approx(60.5, abs=0.1)


def test_marks_are_seen_on_white_too():
    """White lines and a white bar have a dark edge: originals are white where bone, contrast or water is."""
    html = render(volume_study())
    light, dark = (re.findall(rf'class="cross" d="([^"]+)"[^>]+stroke="{c}"', html) for c in ("#ffffff", "#000000"))
    assert light == dark != []
    assert re.search(r"\.length \{[^}]*outline: 1px solid rgba\(0, 0, 0", html)


def test_a_scale_bar_stands_where_the_spacing_is_known():
    assert "50 mm" in Page(render(picture_study())).text  # a third of 160 mm is 53 mm
    assert 'class="length" style="width:31.25%"' in render(picture_study())
    assert 'class="length"' not in render(picture_study(spacing=None))


def test_pixels_that_are_not_square_are_shown_in_their_true_proportion():
    plane = planes_of(picture_study(spacing=(1.0, 0.5)), [])[0]
    height, width = plane.base.shape[:2]
    assert width / height == pytest.approx(160 / 240, rel=0.01)


def test_small_pictures_are_enlarged_and_large_ones_reduced():
    small = planes_of(picture_study(picture=np.zeros((30, 40), np.uint8), spacing=None), [])[0]
    large = planes_of(picture_study(picture=np.zeros((3000, 1500), np.uint8), spacing=None), [])[0]
    assert small.base.shape == (180, 240, 3)
    assert large.base.shape == (896, 448, 3)


def test_letters_of_a_picture_follow_its_affine():
    coronal = np.array([[0, -1.0, 0, 0], [0, 0, 1, 0], [-1.0, 0, 0, 0], [0, 0, 0, 1]])
    assert planes_of(picture_study(affine=coronal), [])[0].letters == ("R", "L", "S", "I")
    assert planes_of(picture_study(), [])[0].letters == ()
    # of a radiograph the header says where the right and the lower edge point; an affine knows better
    assert planes_of(picture_study(edges=("L", "I")), [])[0].letters == ("R", "L", "S", "I")
    assert planes_of(picture_study(affine=coronal, edges=("R", "S")), [])[0].letters == ("R", "L", "S", "I")


def test_right_is_on_the_left_and_head_is_up_in_the_slices_of_a_volume():
    study = volume_study()
    axial, coronal, sagittal = planes_of(study, [study.maps[0].heatmap])
    assert axial.letters == ("R", "L", "A", "P")
    assert coronal.letters == ("R", "L", "S", "I")
    assert sagittal.letters == ("A", "P", "S", "I")
    # the peak lies at the right (low column), anterior (low row), inferior (low slice) of the patient
    for plane, left, top in ((axial, True, True), (coronal, True, False), (sagittal, True, False)):
        shown = plane.cut(study.maps[0].heatmap)
        row, column = np.unravel_index(shown.argmax(), shown.shape)
        assert shown.max() > 0.95
        assert (column < shown.shape[1] / 2) == left
        assert (row < shown.shape[0] / 2) == top
        x, y = plane.cross
        assert (x * shown.shape[1], y * shown.shape[0]) == pytest.approx((column, row), abs=shown.shape[0] * 0.08)


def test_a_volume_has_three_slices_for_the_original_and_for_every_method():
    html = render(volume_study())
    names = re.findall(r"<figcaption><b>(.*?)</b> <span class=\"where\">(\w+), (\w [\d.]+ mm)", html)
    assert [name[:2] for name in names] == [
        (title, plane)
        for method in ("grad-cam", "cam")
        for plane in ("axial", "coronal", "sagittal")
        for title in ("Original", method)
    ]
    assert {name[2] for name in names} == {"I 4.0 mm", "A 20.0 mm", "R 13.0 mm"}
    text = Page(html).text
    assert "the patient's right is on the left" in text
    assert text.count("No map: no positive evidence") == 3


def test_a_volume_without_an_affine_claims_no_sides():
    study = volume_study(affine=None)
    html = render(study)
    assert 'class="side' not in html
    assert "axial" not in Page(html).text
    assert "Left and right of the patient are not known" in Page(html).text


def test_a_volume_without_maps_is_cut_through_its_middle():
    planes = planes_of(volume_study(maps=()), [])
    assert len(planes) == 3
    assert planes[0].cross == pytest.approx((0.5, 0.5), abs=0.03)


def test_a_window_decides_the_grey_values_of_a_volume():
    flat = volume_study(picture=np.full(VOLUME, 100, np.float32))
    assert (planes_of(replace(flat, window=(0.0, 200.0)), [])[0].base == 128).all()
    assert (planes_of(replace(flat, window=(100.0, 300.0)), [])[0].base == 0).all()


# --- the page


def test_names_cannot_become_markup():
    evil = "<script>alert(1)</script>\"'&"
    study = picture_study()
    maps = tuple(replace(one, class_name=evil, method=evil) for one in study.maps)
    html = render(
        replace(
            study,
            name=evil,
            pseudonym=evil,
            maps=maps,
            limits=(evil,),
            provenance={evil: evil},
            probabilities={evil: 0.5},
            model=replace(MODEL, name=evil),
            record_id=evil,
        )
    )
    page = Page(html)
    assert not page.all("script")
    assert "<script" not in html
    assert evil in page.text
    assert any(evil in found["alt"] for found in page.all("img"))


@pytest.mark.parametrize("make", [picture_study, volume_study, empty_study])
def test_a_page_holds_everything_it_shows(make, tmp_path):
    for path in write_report(make(), tmp_path, patient_page=True):
        html = path.read_text(encoding="utf-8")
        page = Page(html)
        for tag, attributes in page.elements:
            assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
            for name, value in attributes.items():
                assert not name.startswith("on")
                if name in ("src", "href", "srcset", "poster", "action", "xlink:href"):
                    assert value.startswith("data:image/png;base64,")
        assert all(url.startswith("data:image/png;base64,") for url in re.findall(r"url\(([^)]*)\)", html))
        assert not re.search(r"https?://|@import", html)
        assert all(found.get("alt", "").strip() for found in page.all("img"))
        policy = next(
            found["content"]
            for found in page.all("meta", http_equiv="x") or page.all("meta")
            if "default-src" in found.get("content", "")
        )
        assert policy.startswith("default-src 'none'")
        ids = [found["id"] for _, found in page.elements if "id" in found]
        assert len(ids) == len(set(ids))
        headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
        assert headings[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(headings))


def test_opacities_are_offered_without_a_script_and_the_given_one_is_chosen():
    page = Page(render(picture_study(), opacity=0.35))
    assert [found["id"] for found in page.all("input", type_="radio")] == [
        f"opacity-{n}" for n in (0, 30, 35, 40, 50, 100)
    ]
    assert [found["id"] for found in page.all("input", type_="radio") if "checked" in found] == ["opacity-35"]
    assert "opacity grows with the value, up to 35%" in page.text
    uniform = Page(render(picture_study(), opacity=0.35, blend="uniform"))
    assert "laid over at 35%, also where the map is 0" in uniform.text


def test_palettes_that_are_not_ordered_are_named_as_such():
    assert "not perceptually ordered" in Page(render(picture_study(), palette="jet")).text
    assert "not perceptually ordered" not in Page(render(picture_study())).text


# --- files


def test_the_same_study_gives_the_same_bytes_and_leaves_the_file_alone(tmp_path):
    first = write_report(picture_study(), tmp_path / "a", patient_page=True)
    again = write_report(picture_study(), tmp_path / "b", patient_page=True)
    assert [path.name for path in first] == ["case-7_report.html", "case-7_patient.html"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    before = [path.stat().st_ino for path in first]
    assert [path.stat().st_ino for path in write_report(picture_study(), tmp_path / "a", patient_page=True)] == before


def test_a_report_is_replaced_whole(tmp_path):
    (path,) = write_report(picture_study(), tmp_path)
    before = path.read_bytes()
    write_report(picture_study(record_id="rec-000043"), tmp_path)
    assert path.read_bytes() != before
    assert b"rec-000043" in path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["case-7_report.html"]


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "case-7_report.html").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_report(picture_study(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["case-7_report.html"]


@pytest.mark.parametrize("wrong", [{"formats": ["doc"]}, {"formats": []}, {"opacity": 1.5}, {"palette": "infernal"}])
def test_what_cannot_be_written_is_refused_before_anything_is(wrong, tmp_path):
    with pytest.raises(InputError):
        write_report(picture_study(), tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "a/b", "../a", "/a"])
def test_a_name_that_leads_elsewhere_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="name"):
        write_report(picture_study(name=name), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# --- numbers as JSON


def test_lengths_of_a_radiograph_say_everywhere_that_they_are_at_the_detector():
    study = picture_study()
    maps = [replace(one, regions=replace(one.regions, measured=Measured.DETECTOR)) for one in study.maps]
    html = render(replace(study, maps=tuple(maps), measured=Measured.DETECTOR))
    for told in (
        "50 mm at the detector</span>",  # the scale bar
        "0.5 × 0.5 mm at the detector apart",
        "mm at the detector from the first pixel",
        "How large (mm at the detector), and",
    ):
        assert told in html, told
    assert re.search(r"marks [\d.]+ mm²( \([\d.]+ cm²\))? at the detector in 1 part", html)
    assert "at the detector" not in render(study)
    assert study_numbers(replace(study, measured=Measured.DETECTOR))["source"]["measured"] == "at the detector"


def test_the_numbers_are_those_of_the_study():
    study = picture_study()
    numbers = json.loads(json.dumps(study_numbers(study), allow_nan=False))
    assert [one["regions"] for one in numbers["maps"]] == [json.loads(one.regions.to_json()) for one in study.maps]
    assert numbers["probabilities"] == dict(study.probabilities)
    assert [check["outcome"] for check in numbers["checks"]] == ["pass", "flag", "not assessed"]
    assert numbers["uncertainty"][0]["mutual_information"] == 0.0712
    assert numbers["source"] == {
        "sha256": SHA[::-1], "shape": [HEIGHT, WIDTH], "spacing_mm": [0.5, 0.5], "measured": None, "affine_ras": None,
    }  # fmt: skip
    assert numbers["model"]["weights_sha256"] == SHA
    assert numbers["record_id"] == "rec-000042"


def test_numbers_are_plain_or_refused():
    odd = {"n": np.float32(0.5), "nan": math.nan, "set": {"b", "a"}, "outcome": Outcome.FLAG, "array": (1, 2)}
    assert study_numbers(picture_study(provenance=odd))["provenance"] == {
        "n": 0.5, "nan": None, "set": ["a", "b"], "outcome": "flag", "array": [1, 2],
    }  # fmt: skip
    with pytest.raises(InputError, match="provenance, device"):
        study_numbers(picture_study(provenance={"device": torch.device("cpu")}))


def test_nothing_of_the_process_changes(tmp_path: Path):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    write_report(volume_study(), tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
