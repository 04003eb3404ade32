"""The pages for those who come from other libraries: each line runs with both, and what is said of it holds."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from benchmarks import claims
from benchmarks.claims import DIFFERS, EQUAL, PAGES, Line, Normalised, Small, apart, batch, stretched
from benchmarks.libraries import reason_to_skip

import cfcam
from cfcam.methods import EigenCAM
from tests.test_docs import blocks

LINES = list(claims.lines())
SEEDS = (0, 1, 4, 6)


def needed(library: str) -> None:
    if (why := reason_to_skip(library)) is not None:
        pytest.skip(f"{library}: {why} (make .peers, and CFCAM_PEERS=.peers)")


@pytest.mark.parametrize("line", LINES, ids=[f"{line.page}-{n}" for n, line in enumerate(LINES)])
def test_a_line_of_a_page_runs_with_both_libraries_and_its_verdict_holds(line: Line) -> None:
    """Of networks and seeds as many as show a sign that is arbitrary: of 16 maps of KPCA_CAM 2 are upside down."""
    needed(line.page)
    found = [apart(*claims.run(line, seed=seed, network=kind)) for kind in (Small, Normalised) for seed in SEEDS]
    if line.verdict == "differs":
        assert max(found) > DIFFERS
    else:
        assert max(found) < (5e-3 if "KPCA_CAM" in line.theirs else EQUAL)  # which decomposes in 32 bits


@pytest.mark.parametrize("name", ["KPCA_CAM", "EigenGradCAM"])
def test_a_sign_that_is_said_to_be_arbitrary_is(name: str) -> None:
    needed("pytorch-grad-cam")
    (line,) = (line for line in LINES if name in line.theirs)
    assert line.verdict == claims.UP_TO_SIGN
    plain = replace(line, verdict="equal")
    found = [apart(*claims.run(plain, seed=seed, network=kind)) for kind in (Small, Normalised) for seed in SEEDS]
    assert max(found) > 0.5
    assert min(found) < 1e-4


@pytest.mark.parametrize("line", [line for line in LINES if line.page == "monai"][:2], ids=["grad-cam", "cam"])
def test_the_page_of_monai_holds_for_volumes(line: Line) -> None:
    needed("monai")
    assert apart(*claims.run(line, axes=3)) < EQUAL


@pytest.mark.parametrize("seed", range(3))
def test_three_lines_give_the_map_of_pytorch_grad_cam(seed: int) -> None:
    needed("pytorch-grad-cam")
    code = next(block for block in blocks("docs/from/pytorch-grad-cam.md") if "grayscale_cam" in block)
    assert len(code.strip().splitlines()) == 3
    x, model = batch(seed=seed), Small(seed=seed)
    names = {"cfcam": cfcam, "model": model, "x": x}
    exec(code, names)  # noqa: S102 (a block of our own page)
    line = Line("pytorch-grad-cam", LINES[0].theirs, "", "")
    theirs = claims._called(line.theirs, claims._of_library(line.page), x, Small(seed=seed))
    assert apart(torch.from_numpy(theirs), names["grayscale_cam"]) < EQUAL


def test_the_last_of_the_three_lines_makes_no_number_of_a_map_that_is_the_same_everywhere() -> None:
    """Theirs is 0 then, and 0 / 0 is none."""
    code = next(block for block in blocks("docs/from/pytorch-grad-cam.md") if "grayscale_cam" in block)
    names = {"grayscale_cam": torch.stack([torch.ones(4, 4), torch.zeros(4, 4), torch.eye(4) / 2 + 0.5])}
    exec(code.strip().splitlines()[-1], names)  # noqa: S102 (a line of our own page)
    assert torch.equal(names["grayscale_cam"], torch.stack([torch.zeros(4, 4), torch.zeros(4, 4), torch.eye(4)]))


def test_a_centred_eigen_cam_is_that_of_pytorch_grad_cam_up_to_its_sign() -> None:
    needed("pytorch-grad-cam")
    (line,) = (line for line in LINES if '"eigen-cam"' in line.ours)
    theirs, _ = claims.run(line)
    e = cfcam.explain(Small(), batch(), EigenCAM(center=True), targets=1, layer="layer4")
    for one, raw in zip(theirs, e.maps["eigen-cam"][:, 0], strict=True):
        either = [stretched(claims._sized((sign * raw[None]).clamp(min=0), batch()))[0] for sign in (1, -1)]
        assert min(apart(one, own) for own in either) < 1e-4


def test_volumes_differ_from_pytorch_grad_cam_by_its_enlargement_alone() -> None:
    needed("pytorch-grad-cam")
    from pytorch_grad_cam.utils.image import scale_cam_image

    x = batch(axes=3)
    theirs = claims._called(LINES[0].theirs, claims._of_library("pytorch-grad-cam"), x, Small(3))
    raw = cfcam.explain(Small(3), x, "grad-cam", targets=1, layer="layer4").maps["grad-cam"][:, 0].numpy()
    ours = scale_cam_image(scale_cam_image(raw, tuple(x.shape[2:])).clip(min=0))
    assert abs(ours - theirs).max() < EQUAL


def test_every_line_with_two_calls_is_read_and_the_pages_name_the_versions() -> None:
    for page in claims.PACKAGES:
        text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
        calls = len(re.findall(r"^\| `.+` \| `cfcam\.explain\(.+` \| \w", text, re.MULTILINE))
        assert calls == sum(line.page == page for line in LINES) > 2
        assert re.search(r"\(\S+ \d+\.\d+\.\d+, November 2026; `tests/test_elsewhere.py`\)", text)


def test_the_claims_that_were_run_again_are_those_of_the_pages() -> None:
    told = (PAGES.parents[1] / "benchmarks" / "results" / "claims.md").read_text(encoding="utf-8")
    for line in LINES:
        (found,) = re.findall(re.escape(f"| `{line.theirs}` | `{line.ours}` | {line.verdict} | ") + r"(.*) \|", told)
        assert (found == "equal") == (line.verdict != "differs")
