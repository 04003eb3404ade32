"""Whatever a comparison is written to says what a change is not."""

import json

from cfcam.clinical.comparison.changes import compare
from cfcam.clinical.comparison.result import SENTENCE
from tests.clinical.comparison.test_changes import scene, study


def test_every_output_says_what_a_change_is_not():
    found = compare(study(scene((32, 32), 6)), study(scene((32, 32), 8)), registration="none")
    document = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert document["statement"] == SENTENCE == "A change of the map is not a change of disease."
    assert "not a medical device" in document["use"]
    assert found.as_row()["statement"] == SENTENCE
    assert document["registration"]["kind"] == "none"
    assert "not registered" in " ".join(document["notes"])
