"""What hides names hides no words: a file may be called ``on.png``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cfcam.imaging import Volume
from cfcam.imaging.volume import Source
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.privacy import neutral, without_channel_names, without_names, without_paths, without_stem

SENTENCE = "is on another grid: resample it to one of 2 by 2"
WORDS = ["on", "is", "a", "2", "it", "to", "one", "by"]


@pytest.mark.parametrize("stem", WORDS)
@pytest.mark.parametrize("ending", ["", ".png", ".nii.gz"])
def test_no_scrubber_takes_a_word_for_a_name(stem, ending):
    name = stem + ending
    source = Input(Path("scans") / name, label="study-1")
    assert neutral(SENTENCE, source) == SENTENCE
    assert without_stem(SENTENCE, source) == SENTENCE
    assert without_paths(SENTENCE, source, 1, 2) == f"{SENTENCE} (input 1 of 2)"
    assert without_names(SENTENCE, [name, stem, f"scans/{name}"], stem) == SENTENCE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scans/on.png: is on another grid", "(file): is on another grid"),
        ("lungs_on.png: is on another grid", "(file): is on another grid"),
        ("masks/on_mask.nii.gz is on another grid", "(file) is on another grid"),
        ("patient MUELLER has no label", "patient (file) has no label"),
        ("patient MUELLERS has no label", "patient MUELLERS has no label"),
        ("", ""),
    ],
)
def test_a_name_is_hidden_where_it_stands_whole_and_in_what_is_called_after_it(text, said):
    assert without_names(text, ["scans/on.png", "on.png", "on", "MUELLER", ""], "on") == said


def test_names_of_channels_that_are_dicom_are_hidden_and_those_of_nifti_stay():
    voxels = np.zeros((2, 2, 2, 2), np.float32)
    notices = ("the file name Miller_T2 speaks of channel 1", "channel 1: read Miller_T1.dcm, not Miller_T1s")
    of = (("T1", "Miller_T2"), ("T2", "Miller_T1.dcm"), ("CT", "scan.nii.gz"))
    hidden = without_channel_names(Volume(voxels, np.eye(4), Source(channels=of), notices=notices))
    assert hidden.source.channels == (("T1", "(file)"), ("T2", "(file)"), ("CT", "scan.nii.gz"))
    said = ("the file name (file) speaks of channel 1", "channel 1: read (file), not Miller_T1s")
    assert hidden.notices == said
