"""The benchmarks run, promise what they print, and compare maps that are the same."""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import benchmarks
import pytest
import torch
from benchmarks.__main__ import main
from benchmarks.cases import DIFFERENCES, OURS
from benchmarks.gpu import agreement
from benchmarks.libraries import pearson, reason_to_skip
from benchmarks.many import Watch
from benchmarks.memory import peak_of
from benchmarks.scaling import exponent
from benchmarks.timing import interleaved


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """The benchmarks set torch's threads for their process, which here is that of all tests."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_table_of_speed_has_its_columns_and_the_exact_methods_agree(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    cases = ["grad-cam@2", "together@2", "cf-cam-2048x7x7", "score-cam"]
    only = [word for case in cases for word in ("--only", case)]
    main(["speed", "--quick", "--threads", "1", "--out", str(tmp_path), *only])
    text, result = (tmp_path / "speed.md").read_text(), json.loads((tmp_path / "speed.json").read_text())
    header = next(line for line in text.splitlines() if line.startswith("| case"))
    for column in ("method", "library", "batch", "ms (median)", "× forward", "MB above forward", "agreement"):
        assert f"| {column} " in header
    assert {row["case"] for row in result["rows"]} == set(cases)
    assert {"cpu", "threads", "versions", "command", "date"} <= set(result["machine"])
    compared = [row for row in result["rows"] if row["agreement"] is not None and row["library"] != OURS]
    left_out = {note.split()[0] for note in result["notes"] if "is left out" in note}
    libraries = {"captum", "torch-cam", "monai", "pytorch-grad-cam"}
    assert left_out == {library for library in libraries if reason_to_skip(library)}
    assert {row["library"] for row in compared} == libraries - left_out
    for row in compared:
        parts = [(method, row["library"]) for method in row["method"].split(" + ")]
        assert row["agreement"] >= 0.99 or any(part in DIFFERENCES for part in parts), row


def test_every_call_is_timed_in_every_round_and_none_always_follows_the_same_one() -> None:
    seen: list[str] = []
    times = interleaved({name: lambda name=name: seen.append(name) for name in "abc"}, rounds=8, budget=math.inf)
    rounds = [seen[i : i + 3] for i in range(0, 24, 3)]
    assert all(sorted(part) == ["a", "b", "c"] for part in rounds)
    assert len({tuple(part) for part in rounds}) > 1
    assert all(len(found.seconds) == 8 for found in times.values())
    assert len(interleaved({"a": lambda: None}, rounds=8, budget=0, least=3)["a"].seconds) == 3


def test_peak_memory_is_what_a_call_touches_and_gives_back() -> None:
    size = 64 * 2**20
    held = peak_of(lambda: torch.ones(size, dtype=torch.uint8))
    assert 0.95 * size <= held.used <= 1.25 * size  # the kernel counts pages in batches
    assert peak_of(lambda: None).used < size / 8


def test_agreement_is_the_worst_of_all_maps() -> None:
    maps = torch.rand(2, 3, 5, 5)
    assert pearson(maps, 3 * maps + 1) == pytest.approx(1)
    other = maps.clone()
    other[1, 2] = -maps[1, 2]
    assert pearson(maps, other) == pytest.approx(-1)


def test_what_maps_cost_a_training_is_measured_beside_it(tmp_path: Path) -> None:
    main(["training", "--quick", "--threads", "1", "--out", str(tmp_path)])
    result = json.loads((tmp_path / "training.json").read_text())
    assert [row["pictures"] for row in result["rows"]] == [1, 2]
    assert all(row["share"] > 0 for row in result["rows"])


def test_the_exponent_is_that_of_a_power_and_unknown_below_the_noise() -> None:
    assert exponent([1, 2, 4, 8], [9, 4, 16, 64]) == pytest.approx(2)
    assert math.isnan(exponent([1, 2, 4], [1, 2, -1]))


def test_the_viewers_memory_is_counted_from_its_start_beside_the_raw_arrays(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("nibabel")
    main(["view-memory", "--quick", "--threads", "1", "--out", str(tmp_path)])
    result = json.loads((tmp_path / "view_memory.json").read_text())
    assert result["raw_mb"] == pytest.approx(60 * 96 * 96 * (2 + 3 * 4) / 2**20)
    assert len(result["cases"]) == 2
    for steps in result["cases"].values():
        most = [step[2] for step in steps]
        assert most == sorted(most)
        assert all(1 < now <= top for _, now, top in steps)
    assert "| after " in (tmp_path / "view_memory.md").read_text()


def test_a_viewers_answer_is_timed_beside_the_network_and_the_method_alone(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    main(["view-live", "--quick", "--threads", "1", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "view_live.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["grad-cam", "grad-cam++", "cf-cam"]
    assert all(len(row[name]) >= 3 and min(row[name]) > 0 for row in rows for name in ("forward", "library", "viewer"))


def test_empty_maps_are_in_no_agreement_and_one_beside_one_that_is_not_agrees_in_nothing() -> None:
    maps = torch.rand(2, 1, 3, 3)
    empty, half = torch.zeros_like(maps), maps.clone()
    half[1] = 0
    assert all(math.isnan(number) for number in agreement(empty, empty))
    assert agreement(half, half) == pytest.approx((1, 1))
    assert agreement(maps, half) == (0, 0.5)


def test_the_table_of_a_gpu_is_rehearsed_on_the_cpu(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    chosen = [word for name in ("grad-cam", "legrad", "cf-cam", "smooth-grad") for word in ("--method", name)]
    main(["gpu", "--quick", "--device", "cpu", "--threads", "1", "--out", str(tmp_path), *chosen])
    records = json.loads((tmp_path / "gpu.json").read_text())["records"]
    done = [one for one in records if "why" not in one]
    assert [(one["method"], one["dtype"]) for one in done] == [
        (method, dtype)
        for method in ("grad-cam", "cf-cam", "smooth-grad")
        for dtype in ("float32", "float16", "bfloat16")
    ]
    assert [one["pearson"] for one in done[::3]] == pytest.approx([1, 1, 1])
    assert all(one["pearson"] > 0.9 for one in done)
    assert {one["why"].split()[0] for one in records if "why" in one} == {"MethodError:"}
    every = json.loads((tmp_path / "gpu.json").read_text())["all_classes"]
    assert [one["method"] for one in every] == ["grad-cam", "cf-cam"]
    assert all(one["time"] > 0 and one["memory"] > 0 for one in every)
    assert "| 1000 classes, ms |" in (tmp_path / "gpu.md").read_text()
    main(["gpu", "--quick", "--device", "cpu", "--out", str(tmp_path), "--minutes", "0", *chosen])
    text = (tmp_path / "gpu.md").read_text()
    assert text.count("no time was left") == 12


def test_an_evaluation_beside_quantus_gives_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("quantus")
    main(["evaluation", "--quick", "--threads", "1", "--out", str(tmp_path)])
    (record,) = json.loads((tmp_path / "evaluation.json").read_text())["records"]
    ours, theirs = record["said"]["cfcam"], record["said"]["Quantus"]
    assert (ours["energy"], ours["hit-rate"]) == pytest.approx((theirs["energy"], theirs["hit-rate"]))
    assert ours["deletion-black"] == pytest.approx(theirs["deletion-black"], rel=0.1)  # ends of the curve, see there


def test_what_benchmarks_take_from_the_tests_is_there() -> None:
    """Most of it is imported where it is used, so that nobody would see it go."""
    for path in sorted(Path(benchmarks.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
                module = import_module(str(node.module))
                for name in (one.name for one in node.names):
                    assert hasattr(module, name) or find_spec(f"{node.module}.{name}"), (path.name, name)


def test_an_early_stop_is_held_against_all_masks(tmp_path: Path) -> None:
    from benchmarks.early_stop import agreement

    pytest.importorskip("transformers")
    main(["early-stop", "--quick", "--threads", "1", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "early-stop.json").read_text())["records"][0]
    assert (record["most"], len(record["agreement"]), len(record["passes"])) == (62, 2, 2)  # of two classes
    none, some = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    assert [agreement(none, none), agreement(none, some), agreement(some, none)] == [1, 0, 0]
    assert agreement(some, 2 * some + 1) == pytest.approx(1)


def test_series_of_views_are_held_against_the_standard_one(tmp_path: Path) -> None:
    from benchmarks.views import KINDS, SERIES, STEPS

    from cfcam.methods import CFCAM
    from cfcam.methods.clusters.series import series

    main(["views", "--quick", "--threads", "1", "--out", str(tmp_path)])
    steps, flips = json.loads((tmp_path / "views.json").read_text())["rows"]
    assert (steps["series"], steps["pictures"], steps["differences"]) == (STEPS, 1, {})
    assert flips["series"] == "flips"
    for metric, (difference, _, _) in flips["differences"].items():
        assert difference == pytest.approx(flips["means"][metric] - steps["means"][metric])
    assert 0 <= steps["left out"] <= 1
    assert (*series(4), *SERIES[STEPS]) == SERIES[STEPS] * 2  # what is compared with is what is used
    assert series(4, "volume", (4.0, 1.0, 1.0)) == SERIES["within slices"]
    for kind in KINDS:  # as many passes each
        assert {len(SERIES[name]) for name in kind.series} == {4}
    assert CFCAM(views=SERIES["flips"], kind="photograph").views == SERIES["flips"]


def test_the_memory_of_a_run_is_seen_from_outside(tmp_path):
    """A process that takes 80 MB, gives it back, and enters lines; what looks on sees it at its end still."""
    code = "import sys; b = b'x' * 80_000_000; del b; open(sys.argv[1], 'w').write('x\\n' * 6000); print(); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lines")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    watch = Watch(process.pid, tmp_path / "lines")
    process.stdout.readline()
    found = watch.found()
    process.communicate("\n")
    assert found["own_peak"] == found["peak"] > 80_000_000
    assert found["at_few"] <= found["most_later"] < 80_000_000
