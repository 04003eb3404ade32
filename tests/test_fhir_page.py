"""The commands of docs/how-to/fhir.md run as they stand there, against a FHIR server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.exchange.fhir.tools import all_of, errors_of, server
from tests.machine import pdf_writer

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "fhir.md"


@pytest.mark.slow
def test_five_commands_bring_a_result_to_a_server(tmp_path: Path) -> None:
    pdf_writer()
    install, commands = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert install.startswith("pip install")
    assert len(commands.strip().splitlines()) == 5
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with server() as base:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=tmp_path,
            env=os.environ | {"PATH": path, "FHIR_SERVER": base, "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert re.search(r"posted: \d+ new, 0 known already", done.stdout), done.stdout
        (report,) = all_of(base, "DiagnosticReport")
        assert report["status"] == "preliminary"
        assert report["presentedForm"][0]["contentType"] == "application/pdf"
        assert report["resultsInterpreter"] == [{"display": "A. Reader"}]
        assert len(all_of(base, "DocumentReference")) == 4  # two segmentations, the numbers, the reader's verdict
        (study,) = all_of(base, "ImagingStudy")
        assert re.fullmatch(r"P-[A-Z2-7]{16}", study["subject"]["identifier"]["value"])
    made = (tmp_path / "bundle.json").read_text(encoding="utf-8")
    assert errors_of([json.loads(made)]) == [[]]
    assert "PHANTOM" not in made + done.stdout + done.stderr
    assert "Drawn" not in made + done.stdout + done.stderr
