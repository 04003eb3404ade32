"""What a diagnosis says, as text, as HTML and as values."""

from __future__ import annotations

import pytest

from cfcam import diagnose
from cfcam.models.demo import load_demo_network
from tests.diagnosis.networks import Net, image, phantoms
from tests.diagnosis.test_layer import Branches


def test_it_reads_as_text_as_html_and_as_values() -> None:
    import json

    net = Net(classes=3).eval()
    found = diagnose(net, image(), targets="<dog>", classes=["<a>", "b", "c"])
    text = str(found)
    assert text.splitlines()[0] == found.title
    assert text.index("problem: target") < text.index("ok: model")
    page = found._repr_html_()
    assert "&lt;dog&gt;" in page
    assert "<dog>" not in page
    told = json.loads(json.dumps(found.as_dict()))
    assert told["ok"] is False
    assert told["severity"] == "problem"
    assert {"check", "severity", "seen", "means", "advice", "values"} == set(told["findings"][0])
    with pytest.raises(KeyError):
        found["no such check"]


def test_every_problem_and_warning_says_what_it_means_or_what_to_do() -> None:
    broken = [
        diagnose(Branches().train(), image(channels=1)),
        diagnose(Branches().train(), image() * 100, layer="shared", targets=9, classes=["a"]),
        diagnose(load_demo_network(), phantoms("nodule") * 9, targets=9),
    ]
    for found in broken:
        for finding in found.findings:
            if finding.severity in ("problem", "warning"):
                assert finding.advice, finding
