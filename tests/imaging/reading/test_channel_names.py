"""File names that speak of another channel than the one they are put into are told, and no others."""

import pytest

from cfcam.imaging.reading.channel_names import contradictions


@pytest.mark.parametrize(
    ("files", "channels", "wrong"),
    [
        (("t1", "t2"), ("T1", "T2"), []),
        (("t2", "t1"), ("T1", "T2"), [(0, 1), (1, 0)]),
        (("p7_T1_ce", "p7_T1"), ("T1", "T1-ce"), [(0, 1)]),  # what both are called says nothing of the second
        (("p7_T1", "p7_T1Gd"), ("T1w", "t1ce"), []),
        (("B-t2f", "B-t1n", "B-t1c", "B-t2w"), ("FLAIR", "T1w", "T1gd", "T2w"), []),
        (("B-t1n", "B-t2f", "B-t1c", "B-t2w"), ("FLAIR", "T1w", "T1gd", "T2w"), [(0, 1), (1, 0)]),
        (("scan_0000", "scan_0001"), ("CT", "T1"), []),
        (("scan_0001", "scan_0000"), ("CT", "T1"), [(0, 1), (1, 0)]),
        (("scan_t2_0000", "scan_t1_0001"), ("T1", "T2"), [(0, 1), (1, 0)]),  # words before numbers
        (("scan_t1_0001", "scan_t2_0000"), ("T1", "T2"), []),
        (("t2_0000", "t2_0001"), ("T1", "T2"), []),  # a study that is called like a channel
        (("scan_0003", "scan_0002"), ("T1", "T2"), []),  # numbers of something else
        (("left", "right"), ("CT", "PET"), []),
        (("t1_and_t2", "x"), ("T1", "T2"), []),  # it names its own channel, too
        (("octane", "petal"), ("PET", "CT"), []),  # no words of theirs
    ],
)
def test_which_files_are_told(files, channels, wrong):
    assert contradictions(files, channels) == tuple(
        f"the file name {files[n]} speaks of channel {of} ({channels[of]}), and is read as channel {n}"
        f" ({channels[n]}): check the order of the files"
        for n, of in wrong
    )
