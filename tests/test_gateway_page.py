"""The commands of docs/how-to/gateway.md run as they stand there, and its examples are what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom")

from cfcam.exchange.pacs.place import Place
from cfcam.jobs.gateway.settings import read_settings
from tests.jobs.gateway.senders import tool
from tests.jobs.gateway.whole import Archive
from tests.jobs.studies import cfcam
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


@pytest.fixture
def composition() -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((EXAMPLES / "compose.yaml").read_text(encoding="utf-8"))


ORTHANC = json.loads((EXAMPLES / "orthanc.json").read_text(encoding="utf-8"))


def test_the_composition_is_one_by_the_specification() -> None:
    spec = pytest.importorskip("compose_spec", reason="compose-spec is not installed")
    text = (EXAMPLES / "compose.yaml").read_text(encoding="utf-8")
    assert spec.PyCompose.from_yaml(text).service_names() == ["archive", "gateway"]
    for word in ("restart", "healthcheck", "cap_drop"):  # it does look
        with pytest.raises(ValueError, match=f"extension key `{word[::-1]}`"):
            spec.PyCompose.from_yaml(text.replace(f"{word}:", f"{word[::-1]}:"))


def test_the_composition_fits_together(composition: Any) -> None:
    services = composition["services"]
    assert services.keys() == {"archive", "gateway"}
    for service in services.values():
        assert set(service["networks"]) <= composition["networks"].keys()
        assert set(service.get("depends_on", ())) <= services.keys()
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (EXAMPLES / source).is_file() if source.startswith(".") else source in composition["volumes"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    build = services["gateway"]["build"]
    root = (EXAMPLES / build["context"]).resolve()
    assert (root / "pyproject.toml").is_file()
    assert (root / build["dockerfile"]).is_file()
    settings = read_settings(EXAMPLES / "gateway.toml")
    title, host, port = ORTHANC["DicomModalities"]["CFCAM"]
    assert (title, port) == (settings.receive.ae_title, settings.receive.port)
    assert host in services
    assert settings.receive.calling == (ORTHANC["DicomAet"],)
    place = Place.parse(settings.send.place)
    assert (place.called_ae, place.port) == (ORTHANC["DicomAet"], ORTHANC["DicomPort"])
    assert place.host in services
    assert not ORTHANC["DicomAlwaysAllowStore"]


def test_what_is_mounted_is_where_settings_and_commands_look_for_it(composition: Any) -> None:
    archive, gateway = (mounts(composition["services"][name]) for name in ("archive", "gateway"))
    settings = read_settings(EXAMPLES / "gateway.toml")
    assert composition["services"]["archive"]["command"] == [archive["./orthanc.json"]]
    assert ORTHANC["LuaScripts"] == [archive["./route.lua"]]
    assert {ORTHANC["StorageDirectory"], ORTHANC["IndexDirectory"]} == {archive["archive"]}
    published = {int(port.rsplit(":")[-1]) for port in composition["services"]["archive"]["ports"]}
    assert published == {ORTHANC["DicomPort"], ORTHANC["HttpPort"]}
    word, file, option = composition["services"]["gateway"]["command"]
    assert (word, file) == ("gateway", gateway["./gateway.toml"])
    assert option in cfcam("gateway", "--help").output
    assert settings.spool.folder.is_relative_to(gateway["spool"])
    asked = " ".join(composition["services"]["gateway"]["healthcheck"]["test"])
    assert f"http://{settings.health.host}:{settings.health.port}/healthz" in asked
    image = (EXAMPLES / "Dockerfile").read_text(encoding="utf-8")
    assert f"chown cfcam {gateway['spool']}" in image  # it may write there, and nowhere else
    assert 'ENTRYPOINT ["cfcam"]' in image
    declared = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", image)
    assert set(extras.split(",")) <= declared["optional-dependencies"].keys()
    assert {"dicom", "pacs", *(("report",) if settings.results.report else ())} <= set(extras.split(","))
    page = (DOCS / "how-to" / "gateway.md").read_text(encoding="utf-8")
    assert [one.name for one in EXAMPLES.iterdir() if f"../examples/gateway/{one.name}" not in page] == []


def mounts(service: Any) -> dict[str, str]:
    """What a service sees of files and volumes: source -> path in it."""
    return {one.split(":")[0]: one.split(":")[1] for one in service["volumes"]}
