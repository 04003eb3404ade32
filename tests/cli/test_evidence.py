import csv
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.jobs.cases.phantoms import phantom_cases
from cfcam.models.demo import make_phantom, sample_phantom
from tests.jobs.studies import THREE_D

QUICK = ("--metrics", "enrichment,class-sensitivity", "--retests", "2", "--gallery", "1")


def run(*arguments):
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["evidence", *(str(a) for a in arguments)])


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "pack"
    arguments = ["--model", "demo-shortcut", "--data", "demo", "--limit", 5, "--output", folder, *QUICK]
    return folder, arguments, run(*arguments)


def test_the_demo_is_documented_and_its_flag_ends_with_1(demo):
    folder, _, made = demo
    assert made.exit_code == 1
    assert "artefact: enrichment" in made.stdout
    assert "not a medical device" in made.stderr
    assert "protocol fixed" in made.stderr
    listed = (folder / "MANIFEST.sha256").read_text()
    for name in ("index.html", "protocol.json", "results.json", "sbom.cdx.json", "inputs.csv", "traceability.csv"):
        assert name in listed


def test_verify_finds_the_pack_whole_and_then_not(demo):
    folder, _, made = demo
    kept = made.stdout.rpartition("MANIFEST.sha256: ")[2].strip()
    assert run("verify", folder, "--against", kept).exit_code == 0
    page = (folder / "index.html").read_bytes()
    try:
        (folder / "index.html").write_bytes(page + b"<!-- -->")
        changed = run("verify", folder)
        assert changed.exit_code == 1
        assert "changed: index.html" in changed.stderr
        assert json.loads(run("verify", folder, "--json").stdout)["changed"] == ["index.html"]
    finally:
        (folder / "index.html").write_bytes(page)
    assert run("verify", folder, "--against", "0" * 64).exit_code == 1
    assert run("verify", folder / "scorecard").exit_code == 2


def test_another_rule_is_refused_in_one_line(demo, tmp_path):
    _, arguments, _ = demo
    (tmp_path / "rules.json").write_text('{"limits": {"artefact_enrichment": 1000}}')
    refused = run(*arguments, "--protocol", tmp_path / "rules.json")
    assert refused.exit_code == 2
    assert "differs in limits.artefact_enrichment" in refused.stderr
    assert "--deviation" in refused.stderr


def test_a_table_with_masks_of_organ_and_artefact(tmp_path):
    (tmp_path / "devices").mkdir()
    (tmp_path / "lungs").mkdir()
    rows = [["image", "label", "patient"]]
    for n, case in enumerate(phantom_cases(3)):
        findings = sample_phantom(case.seed).findings
        phantom = make_phantom(case.seed, size=224, findings=findings, devices=["pacemaker"])
        Image.fromarray(phantom.image).save(tmp_path / f"a{n}.png")
        for folder, names in (("devices", ["pacemaker"]), ("lungs", ["left lung", "right lung"])):
            mask = np.any([phantom.masks[name] for name in names], axis=0)
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / folder / f"a{n}.png")
        rows.append([f"a{n}.png", (findings or ("no finding",))[0], f"PLANTED {n}"])
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (tmp_path / "card.yaml").write_text("intended_use: trying the command\ndate: 2026-01-02\n")
    made = run(
        "-m", "demo", "-d", tmp_path / "cases.csv", "-o", tmp_path / "pack", *QUICK, "--card", tmp_path / "card.yaml",
        "--organ", tmp_path / "lungs", "--artefacts", f"{tmp_path}/devices/{{stem}}.png", "--json",
    )  # fmt: skip
    rules = {rule["name"]: rule for rule in json.loads(made.stdout)["rules"]}
    assert rules["all cases: artefact: energy"]["outcome"] == "pass"
    assert rules["all cases: organ: enrichment"]["value"] is not None
    card = json.loads((tmp_path / "pack" / "model_card.json").read_text())["stated"]
    assert (card["intended_use"], card["date"], card["risks"]) == ("trying the command", "2026-01-02", "not stated")
    assert "PLANTED" not in made.output
    assert str(tmp_path) not in (tmp_path / "pack" / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "demo"], "--data"),
        (["--data", "demo"], "--model"),
        (["-m", "demo", "-d", "none.csv"], "none.csv"),
        (["-m", "demo", "-d", "demo", "--organ", "."], "phantoms bring their masks"),
        (["-m", "demo", "-d", "demo", "--card", "none.yaml"], "none.yaml"),
        (["-m", "demo", "-d", "demo", "--explain", "all"], "predicted or label"),
        (["-m", "demo", "-d", "demo", "--limit", "2", "--metrics", "nonsense"], "nonsense"),
        (["-m", "demo", "-d", "demo", "--limit", "2", "--record", "none.db"], "none.db"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(arguments, told, tmp_path):
    result = run(*arguments, "-o", tmp_path / "pack")
    assert result.exit_code == 2
    assert told in result.stderr
    assert not (tmp_path / "pack").exists()


def test_a_network_of_volumes_is_told_what_measures_it_before_anything_is_asked_of_pictures(tmp_path):
    for data in ("demo", tmp_path):
        result = run("-m", f"{THREE_D}:bright", "-d", data, "-o", tmp_path / "pack")
        assert result.exit_code == 2
        assert "error: evidence is of networks of pictures, and this one takes volumes: cfcam evaluate" in result.stderr
    assert not (tmp_path / "pack").exists()


def test_help_says_what_it_claims_and_what_not():
    shown = " ".join(run("--help").stdout.split())
    assert "no statement of compliance" in shown
    assert "verify" in shown
