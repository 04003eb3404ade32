import tracemalloc
from pathlib import Path, PurePosixPath

import pytest

from cfcam.jobs.inputs.find import Input, Kind
from cfcam.jobs.inputs.many import Inputs

ODD = (
    Input(Path("a.png")),
    Input(Path("in/ward/b\udcff.png"), PurePosixPath("ward")),
    Input(Path("/x/結節\n.dcm"), label="study-1a2b3c4d"),
    Input(Path(), kind=Kind.VOLUME),
    Input(Path(".."), kind=Kind.VOLUME),
    Input(Path("/"), kind=Kind.VOLUME),
    Input(Path("../scan.nii.gz"), kind=Kind.VOLUME),
)


def test_what_was_put_in_comes_out_as_it_was():
    held = Inputs(ODD)
    assert held == ODD
    assert list(held) == list(ODD)
    assert held[-1] == ODD[-1]
    assert held[1:3] == ODD[1:3]
    assert list(held.keys()) == [one.key for one in ODD]
    assert [(parent / name, folder) for parent, name, folder in held.placed] == [(o.absolute, o.folder) for o in ODD]
    with pytest.raises(IndexError):
        held[len(ODD)]


def test_an_input_costs_its_name_and_some_bytes():
    def held():
        return Inputs(Input(Path(f"/in/{n:06d}.png")) for n in range(5000))

    held()  # Python's own table of names grows then
    tracemalloc.start()
    found = held()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < len(found) * 40 + 4000
