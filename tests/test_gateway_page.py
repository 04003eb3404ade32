"""The commands of docs/how-to/gateway.md run as they stand there, and its examples are what they say."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom")

from cfcam.jobs.gateway.settings import read_settings
from tests.jobs.gateway.senders import tool
from tests.jobs.gateway.whole import Archive
from tests.waiting import PATIENCE, free_port, until

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = DOCS / "examples" / "gateway"


@pytest.mark.slow
def test_five_commands_bring_a_result_to_an_archive(tmp_path: Path) -> None:
    page = (DOCS / "how-to" / "gateway.md").read_text(encoding="utf-8")
    install, commands = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert install.startswith("pip install")
    assert len(commands.strip().splitlines()) == 5
    bin_of_dcmtk = Path(tool("dcmsend")).parent
    (tmp_path / "bin").mkdir()  # pynetdicom has programs of DCMTK's names too
    (tmp_path / "bin" / "dcmsend").symlink_to(bin_of_dcmtk / "dcmsend")
    archive = Archive(tmp_path / "archive")
    here = f"dicom://ARCHIVE@127.0.0.1:{archive.port}"
    archive.up()
    health, dicom = free_port(), free_port()  # at those of the page something may listen here
    edits = f"s#dicom://.*4242#{here}#; s/^# port = 9112$/port = {health}/; s/^# port = 11112$/port = {dicom}/"
    told = commands.replace("> gateway.toml\n", f"> gateway.toml\nsed -i '{edits}' gateway.toml\n", 1)
    told = told.replace("127.0.0.1:9112", f"127.0.0.1:{health}").replace("127.0.0.1 11112", f"127.0.0.1 {dicom}")
    assert f" {dicom} " in told
    assert f":{health}/" in told
    run = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", f"{told}\nwait"],
        cwd=tmp_path,
        env=os.environ
        | {"PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        until(
            lambda: {"SEG", "SR", "OT", "KO"} <= {one.Modality for one in archive.objects()} or run.poll() is not None
        )
    finally:
        os.killpg(run.pid, signal.SIGTERM)
        output, _ = run.communicate(timeout=PATIENCE)
        archive.down()
    assert {one.Modality for one in archive.objects()} == {"SEG", "SR", "OT", "KO"}, output
    assert "rule chest: each object alone, by chest" in output
    assert '{"status": "ok", "problems": []}' in output


def test_systemd_takes_the_unit_and_calls_it_safe(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not on this machine")
    text = (EXAMPLES / "cfcam-gateway.service").read_text(encoding="utf-8")
    unit = tmp_path / "cfcam-gateway.service"
    unit.write_text(text.replace("/opt/cfcam/bin/cfcam", sys.executable), encoding="utf-8")
    told = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert "cfcam-gateway.service:" not in told.stderr, told.stderr
    safe = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=40", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert safe.returncode == 0, safe.stdout[-500:] + safe.stderr


def test_the_composition_fits_together() -> None:
    yaml = pytest.importorskip("yaml")
    compose = yaml.safe_load((EXAMPLES / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    assert services.keys() == {"archive", "gateway"}
    for service in services.values():
        assert set(service["networks"]) <= compose["networks"].keys()
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (EXAMPLES / source).is_file() if source.startswith(".") else source in compose["volumes"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    build = services["gateway"]["build"]
    root = (EXAMPLES / build["context"]).resolve()
    assert (root / "pyproject.toml").is_file()
    assert (root / build["dockerfile"]).is_file()
    settings = read_settings(EXAMPLES / "gateway.toml")
    import json

    orthanc = json.loads((EXAMPLES / "orthanc.json").read_text(encoding="utf-8"))
    title, host, port = orthanc["DicomModalities"]["CFCAM"]
    assert (title, host, port) == (settings.receive.ae_title, "gateway", settings.receive.port)
    assert settings.receive.calling == (orthanc["DicomAet"],)
    assert settings.send.place == f"dicom://{orthanc['DicomAet']}@archive:{orthanc['DicomPort']}"
    assert not orthanc["DicomAlwaysAllowStore"]
