"""Drawing, judging and saving of the result."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import cfcam
from cfcam import Explanation, Status
from cfcam.errors import MissingExtraError
from cfcam.explanation import ExplanationError
from tests import oracles
from tests.networks import GapNet


def of(maps: Tensor, size: tuple[int, ...] = (14, 10)) -> Explanation:
    n, k = maps.shape[:2]
    zeros = torch.zeros(n, k)
    return Explanation({"m": maps}, zeros.long(), zeros, torch.zeros(n, 2), torch.full((n, 2), 0.5), "layer", size)


@pytest.mark.parametrize(("shape", "size"), [((7, 5), (14, 10)), ((3, 4, 5), (6, 9, 10)), ((6,), (31,))])
def test_heatmaps_are_the_positive_part_over_its_maximum(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    maps = torch.randn(2, 3, *shape, dtype=torch.float64)
    heat = of(maps, size).heatmaps("m")
    assert heat.shape == (2, 3, *size)
    for n in range(2):
        for k in range(3):
            up = oracles.upsample(maps[n, k].clamp(min=0).numpy(), size)
            torch.testing.assert_close(heat[n, k], torch.from_numpy(up / up.max()))


def test_a_positive_minimum_is_not_subtracted() -> None:
    heat = of(torch.tensor([[[[1.0, 2.0], [2.0, 4.0]]]]), (2, 2)).heatmaps("m")
    assert heat[0, 0].tolist() == [[0.25, 0.5], [0.5, 1.0]]


@given(st.floats(1e-30, 1e30))
def test_the_unit_of_a_map_does_not_matter(unit: float) -> None:
    maps = torch.rand(1, 1, 4, 4)
    torch.testing.assert_close(of(maps * unit).heatmaps("m"), of(maps).heatmaps("m"))


def test_status() -> None:
    maps = torch.full((2, 3, 2, 2), -1.0)
    maps[0, 0, 0, 0] = 1e-30
    maps[0, 1, 0, 0] = torch.nan
    maps[1, 0, 0, 0] = torch.inf
    maps[1, 1] = 0
    e = of(maps)
    ok, none, bad = Status.OK, Status.NO_POSITIVE_EVIDENCE, Status.NOT_FINITE
    assert e.status["m"].tolist() == [[ok, bad, none], [bad, none, none]]
    peaks = e.heatmaps("m").amax((2, 3))
    assert peaks.tolist() == [[1, 0, 0], [0, 0, 0]]


def test_save_and_load_lose_nothing(tmp_path: Path) -> None:
    net, x = GapNet().eval(), torch.randn(2, 3, 14, 10)
    with cfcam.Explainer(net, ["cam", "cf-cam-guided"], classes=list("abcd"), fingerprint=True) as explainer:
        e = explainer(x, targets=["b", 3])
    loaded = Explanation.load(e.save(tmp_path / "new" / "folder"))
    for name in e.methods:
        assert torch.equal(e.maps[name], loaded.maps[name])
        assert e.maps[name].dtype == loaded.maps[name].dtype
        assert torch.equal(e.heatmaps(name), loaded.heatmaps(name))
    for field in ("targets", "scores", "logits", "probabilities"):
        assert torch.equal(getattr(e, field), getattr(loaded, field))
    for field in ("layer", "input_size", "classes", "target_names", "provenance", "methods"):
        assert getattr(e, field) == getattr(loaded, field)
    assert {m: s.tolist() for m, s in loaded.status.items()} == {m: s.tolist() for m, s in e.status.items()}
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "explanation.json",
        "maps.safetensors",
    ]


def test_odd_values_survive_saving(tmp_path: Path) -> None:
    maps = torch.tensor([[[[torch.nan, torch.inf], [-0.0, 1e-45]]]])
    loaded = Explanation.load(of(maps.bfloat16()).save(tmp_path))
    assert loaded.maps["m"].dtype == torch.bfloat16
    loaded = Explanation.load(of(maps).save(tmp_path))
    assert loaded.maps["m"].numpy().tobytes() == maps.numpy().tobytes()
    assert loaded.status["m"][0, 0] is Status.NOT_FINITE


def test_a_callable_has_a_name_after_loading(tmp_path: Path) -> None:
    def contrast(logits: Tensor) -> Tensor:
        return logits[:, 0] - logits[:, 1]

    e = cfcam.explain(GapNet().eval(), torch.randn(1, 3, 14, 10), "grad-cam", targets=[2, contrast])
    loaded = Explanation.load(e.save(tmp_path))
    assert [loaded.label(0, k) for k in (0, 1)] == ["class 2", "contrast"]


def test_a_part_has_its_own_status_and_keeps_nothing_else_alive() -> None:
    net, x = GapNet().eval(), torch.randn(4, 3, 14, 10)
    e = cfcam.explain(net, x, ["cf-cam", "grad-cam"], targets=[1, 2, lambda out: out[:, 0]])
    _ = e.status
    part = e.select(slice(1, 3), slice(1, 3), ["grad-cam"])
    assert part.methods == ["grad-cam"]
    assert torch.equal(part.maps["grad-cam"], e.maps["grad-cam"][1:3, 1:3])
    assert part.targets.tolist() == [[2, -1]] * 2
    assert [part.label(0, k) for k in (0, 1)] == ["class 2", "<lambda>"]
    assert part.status["grad-cam"].shape == (2, 2)
    assert torch.equal(part.probabilities, e.probabilities[1:3])
    assert part.maps["grad-cam"].untyped_storage().nbytes() == 4 * part.maps["grad-cam"].numel()


def break_header(folder: Path) -> None:
    (folder / "explanation.json").write_text("{")


def break_tensors(folder: Path) -> None:
    (folder / "maps.safetensors").write_bytes(b"\x00" * 20)


def remove_tensors(folder: Path) -> None:
    (folder / "maps.safetensors").unlink()


def remove_all(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def from_the_future(folder: Path) -> None:
    header = json.loads((folder / "explanation.json").read_text())
    (folder / "explanation.json").write_text(json.dumps(header | {"format": 99}))


def lose_a_method(folder: Path) -> None:
    header = json.loads((folder / "explanation.json").read_text())
    (folder / "explanation.json").write_text(json.dumps(header | {"methods": ["other"]}))


def claim_a_size(folder: Path) -> None:
    header = json.loads((folder / "explanation.json").read_text())
    (folder / "explanation.json").write_text(json.dumps(header | {"input_size": [10**9, 10**9]}))


def point_at_no_class(folder: Path) -> None:
    header = json.loads((folder / "explanation.json").read_text())
    (folder / "explanation.json").write_text(json.dumps(header | {"classes": []}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (claim_a_size, "is broken: an input of .1000000000, 1000000000. pixels"),
        (point_at_no_class, "is broken: a target that is none of 0 classes"),
        (break_header, "is broken"),
        (break_tensors, "is broken"),
        (remove_tensors, "no saved explanation here .*is missing|is broken"),
        (remove_all, r"no saved explanation here \(explanation.json is missing\)"),
        (from_the_future, r"later cfcam \(format 99\)"),
        (lose_a_method, "is broken"),
    ],
)
def test_a_damaged_folder_is_reported_in_one_line(damage, message: str, tmp_path: Path) -> None:
    folder = of(torch.rand(1, 1, 2, 2)).save(tmp_path / "e")
    damage(folder)
    with pytest.raises(ExplanationError, match=message) as error:
        Explanation.load(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ExplanationError, match="no maps of 'cam' in this explanation; it has m"):
        of(torch.rand(1, 1, 2, 2)).heatmaps("cam")


def test_each_class_has_its_probability_by_its_name_and_twins_their_numbers() -> None:
    e = of(torch.ones(2, 1, 2, 2))
    given = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    told = replace(e, probabilities=given, classes=("crane", "owl", "crane"))
    assert list(told.class_probabilities(0).items()) == [("crane (0)", 0.5), ("owl", 0.25), ("crane (2)", 0.25)]
    assert told.class_probabilities(1)["crane (0)"] == 1
    numbered = {"class 0": 0.5, "class 1": 0.25, "class 2": 0.25}
    assert replace(told, classes=None).class_probabilities(0) == numbered
    assert replace(told, classes=("mm",)).class_probabilities(0) == numbered
    assert replace(told, probabilities=None).class_probabilities(0) == {}


def test_a_frame_has_a_row_for_each_image_target_and_method() -> None:
    first = torch.tensor([[[[0.0, 1], [2, 4]], [[-1, -1], [-1, -2]]], [[[8, 0], [0, 0]], [[0, torch.nan], [0, 0]]]])
    second = first.flip(2)
    targets, scores = torch.tensor([[2, -1], [0, -1]]), torch.tensor([[1.5, 0.25], [2.5, -0.75]])
    probabilities = torch.tensor([[0.125, 0.25, 0.625], [0.75, 0.25, 0]])
    e = Explanation(
        {"a": first, "b": second}, targets, scores, torch.zeros(2, 3), probabilities, "layer", (4, 6),
        classes=("x", "y", "z"), target_names=(None, "x against y"), margins=(False, True),
    )  # fmt: skip
    frame = e.to_frame()
    assert list(frame["image"]) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert list(frame["target"]) == [0, 0, 1, 1] * 2
    assert list(frame["method"]) == ["a", "b"] * 4
    assert list(frame["label"]) == ["z", "z", "x against y", "x against y", "x", "x", "x against y", "x against y"]
    assert frame["class_index"].to_list() == [2, 2, pd.NA, pd.NA, 0, 0, pd.NA, pd.NA]
    assert frame["score"].to_list() == [1.5, 1.5, 0.25, 0.25, 2.5, 2.5, -0.75, -0.75]
    assert frame["probability"].fillna(-1).to_list() == [0.625, 0.625, -1, -1, 0.75, 0.75, -1, -1]
    assert frame["margin"].fillna(-9).to_list() == [-9, -9, 0.25, 0.25, -9, -9, -0.75, -0.75]
    none, bad = "no positive evidence", "not finite"
    assert list(frame["status"]) == ["ok", "ok", none, none, "ok", "ok", bad, bad]
    assert frame["maximum"].fillna(-9).to_list() == [4, 4, -1, -1, 8, 8, -9, -9]
    # of 2 x 2 cells over 4 x 6 pixels those of the rim hold nothing of other cells, and so do columns 1 and 4
    assert frame["peak_row"].to_list() == [3, 0, pd.NA, pd.NA, 0, 3, pd.NA, pd.NA]
    assert frame["peak_column"].to_list() == [4, 4, pd.NA, pd.NA, 0, 0, pd.NA, pd.NA]
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert {kinds[name] for name in ("image", "target")} == {"int64"}
    assert {kinds[name] for name in ("class_index", "peak_row", "peak_column")} == {"Int64"}
    assert {kinds[name] for name in ("score", "probability", "margin", "maximum")} == {"float64"}


@pytest.mark.parametrize(
    ("size", "frames", "names"),
    [
        ((8,), 0, ["peak_position"]),
        ((2, 4, 4), 0, ["peak_slice", "peak_row", "peak_column"]),
        ((2, 4, 4), 2, ["peak_frame", "peak_row", "peak_column"]),
    ],
)
def test_a_peak_has_the_axes_of_the_input(size: tuple[int, ...], frames: int, names: list[str]) -> None:
    maps = torch.zeros(1, 1, *size)
    maps[(0, 0, *(side - 1 for side in size))] = 1
    frame = replace(of(maps, size), frames=frames, probabilities=None).to_frame()
    assert [name for name in frame.columns if name.startswith("peak_")] == names
    assert frame[names].iloc[0].to_list() == [side - 1 for side in size]


def test_without_pandas_a_frame_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"^Explanation.to_frame needs pandas, .*: pip install pandas$"):
        of(torch.ones(1, 1, 2, 2)).to_frame()
