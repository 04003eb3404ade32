from pathlib import Path, PurePosixPath

from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.many import Inputs
from cfcam.jobs.inputs.names import output_names
from cfcam.jobs.inputs.naming import Names

GIVEN = (
    Input(Path("/in/a.png")),
    Input(Path("/in/x.dcm"), label="study-1a2b3c4d"),
    Input(Path("/in/A.jpg")),
    Input(Path("/in/ward/c.png"), PurePosixPath("ward")),
    Input(Path("/in/d.png")),
)


def test_names_are_those_of_all_inputs_at_once_and_of_labels():
    inputs = Inputs(one for one in GIVEN if one.label is None)
    assert Names.of(inputs, {}, ["d"]) == output_names([(one.absolute, one.folder) for one in inputs], {}, taken=["d"])
    assert list(Names.of(Inputs(GIVEN), {}, [])) == ["a-png", "study-1a2b3c4d", "A-jpg", "ward/c", "d"]
    assert Names.of(Inputs(GIVEN), {2: "a", 4: "e"}, [])[:] == ["a-png", "study-1a2b3c4d", "a", "ward/c", "e"]
    assert Names.of(Inputs(GIVEN), {}, [])[-1] == "d"
