"""No name of a file, folder or patient is in a message of an evidence pack, and no word is rewritten for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfcam.jobs.cases.case import Case
from cfcam.jobs.evidence.cases import FileCase
from cfcam.jobs.inputs.masks import RegionMasks


def case(image, name="a", patient=None, masks=(), regions=()):
    inner = Case(name=name, image=Path(image), masks=tuple(map(Path, masks)), patient=patient)
    return FileCase(inner, "case-0001", None, tuple(regions))


@pytest.mark.parametrize("stem", ["on", "is", "a", "1", "other", "mask", "grid", "e", "the"])
@pytest.mark.parametrize(
    "words",
    ["is on another grid: resample it", "class 1 of 12 is out of range", "one of them holds 1 region, an 8-bit mask"],
)
def test_words_that_a_files_name_happens_to_be_part_of_are_left_alone(stem, words):
    here = case(f"scans/{stem}.png", name=f"{stem}.png", masks=[f"masks/{stem}.png"])
    said = here._scrubbed(f"masks/{stem}.png: {words}")
    assert said.startswith("(file): ")
    kept = said.removeprefix("(file): ").split()
    # Only a word that is, whole, the name itself may be gone.
    assert all(now in (before, before.replace(stem, "(file)")) for now, before in zip(kept, words.split(), strict=True))
    assert len(stem) >= 4 or kept == words.split()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scans/MUELLER_01.png: cut off", "(file): cut off"),
        ("/data/scans/MUELLER_01.png: cut off", "(file): cut off"),
        ("MUELLER_01.png is broken", "(file) is broken"),
        ("no mask for --organ was found for MUELLER_01", "no mask for --organ was found for (file)"),
        ("organs/lungs_MUELLER_01.nii.gz: on another grid", "(file): on another grid"),
        ("MUELLER_01_lungs.png: empty", "(file): empty"),
        ("patient P-77 has no label", "patient (file) has no label"),
        ("2 of 12 boxes", "2 of 12 boxes"),
    ],
)
def test_every_name_is_hidden_wherever_it_stands_whole(text, said):
    masks = [RegionMasks("organ", "organs")]
    here = case("scans/MUELLER_01.png", "MUELLER_01.png", "P-77", ["truth/MUELLER_01_lesion.png"], masks)
    assert here._scrubbed(text) == said
