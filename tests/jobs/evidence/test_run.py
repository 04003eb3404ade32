"""Evidence packs of the demo world, and what they rest on."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cfcam.clinical.checks.results import Limits
from cfcam.errors import CfcamError
from cfcam.files import canonical, digest
from cfcam.jobs.cases.phantoms import phantom_cases
from cfcam.jobs.cases.table import read_table
from cfcam.jobs.evidence.card import FIELDS
from cfcam.jobs.evidence.cases import numbered, numbered_phantoms
from cfcam.jobs.evidence.dicom import NOT_INSTALLED, VALIDATORS, validated
from cfcam.jobs.evidence.files import EvidenceError, read_fields, seal, verify
from cfcam.jobs.evidence.measure import CASES, CasesFile
from cfcam.jobs.evidence.protocol import Rules, read_rules
from cfcam.jobs.evidence.run import EvidenceRun
from cfcam.jobs.evidence.settings import EvidenceSettings
from cfcam.models import load
from cfcam.models.demo import sample_phantom

METRICS = ("enrichment", "hit-rate", "class-sensitivity")


def pack(folder, model="demo", cases=None, count=5, **settings):
    """A pack of a few phantoms; what takes long is left out."""
    given = {"metrics": METRICS, "explained": "label", "retests": 2, "gallery": 1, "data": "phantoms"} | settings
    cases = numbered_phantoms(phantom_cases(count)) if cases is None else cases
    run = EvidenceRun(load(model), cases, EvidenceSettings(**given), folder)
    return run.finish(run.scorecard(), run.measure())


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("honest"))


@pytest.fixture(scope="module")
def shortcut(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("shortcut"), "demo-shortcut")


def read(made, name):
    return json.loads((made.page.parent / name).read_text(encoding="utf-8"))


def texts(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- the whole ------------------------------------------------------------------------------------------------


def test_the_pack_of_the_shortcut_network_flags_the_artefact_and_the_honest_one_does_not(honest, shortcut):
    of_artefact = [
        {rule.name: rule.outcome for rule in made.rules if "artefact" in rule.name} for made in (honest, shortcut)
    ]
    assert set(of_artefact[0].values()) == {"pass"}
    assert of_artefact[1]["all cases: artefact: enrichment"] == "flag"
    page = shortcut.page.read_text(encoding="utf-8")
    assert "⚑ flag" in page
    assert "most energy in the artefact" in page


def test_the_page_stands_by_itself_and_claims_nothing(honest):
    page = honest.page.read_text(encoding="utf-8")
    assert "not a medical device" in page
    assert "It is not a statement of compliance" in page
    for fetched in ("http://", "https://", "<script", 'src="/'):
        assert fetched not in page.replace("http://www.w3.org", "")
    assert page.count("data:image/jpeg;base64,") >= 2
    for title in ("Model card", "Data sheet", "calibration", "Repeatability", "Failure gallery", "Requirements"):
        assert title in page


def test_numbers_of_the_page_are_those_of_the_machine_files(honest):
    page, found = honest.page.read_text(encoding="utf-8"), read(honest, "results.json")
    accuracy = found["performance"]["accuracy"]["value"]
    assert f"{100 * accuracy:.1f} %" in page
    assert found["protocol_sha256"] == read(honest, "protocol.json")["sha256"]
    assert found["protocol_sha256"] in page
    assert [rule["name"] for rule in found["rules"]] == [rule.name for rule in honest.rules]


def test_performance_is_counted_on_the_phantoms_themselves(honest):
    right = 0
    with (honest.page.parent / CASES).open() as file:
        records = [json.loads(line)["record"] for line in file.readlines()[1:]]
    names = ["no finding", "nodule", "consolidation", "effusion"]
    for case, record in zip(phantom_cases(5), records, strict=True):
        truth = sample_phantom(case.seed).findings or ("no finding",)
        right += names[int(np.argmax(record["probabilities"]))] in truth
    assert read(honest, "results.json")["performance"]["accuracy"]["value"] == pytest.approx(right / 5)


def test_a_second_run_gives_the_same_numbers_and_measures_nothing_again(honest, tmp_path):
    again = pack(tmp_path)
    for name in ("cases.jsonl", "inputs.csv", "model_card.json", "data_sheet.json", "environment.lock.txt"):
        assert (again.page.parent / name).read_bytes() == (honest.page.parent / name).read_bytes(), name
    first, second = (read(made, "results.json") for made in (honest, again))
    assert {**first, "finished": ""} == {**second, "finished": ""}
    before = (tmp_path / CASES).stat().st_ino, (tmp_path / "scorecard" / "rows.jsonl").stat().st_mtime_ns
    called = []
    run = EvidenceRun(
        load("demo"),
        numbered_phantoms(phantom_cases(5)),
        EvidenceSettings(metrics=METRICS, explained="label", retests=2, gallery=1, data="phantoms"),
        tmp_path,
    )
    run.scorecard()
    run.measure(lambda done, total: called.append((done, total)))
    assert called[0] == (5, 5)
    assert (tmp_path / "scorecard" / "rows.jsonl").stat().st_mtime_ns == before[1]


def test_a_run_that_was_stopped_goes_on_with_what_is_there(honest, tmp_path):
    lines = (honest.page.parent / CASES).read_bytes().splitlines(keepends=True)
    (tmp_path / CASES).write_bytes(b"".join(lines[:3]) + lines[3][:40])
    header = json.loads(lines[0])
    file = CasesFile(tmp_path, header["protocol_sha256"])
    kept = [json.loads(line)["key"] for line in lines[1:3]]
    assert [file.get(key) is not None for key in kept] == [True, True]
    assert file.get(json.loads(lines[3])["key"]) is None
    assert CasesFile(tmp_path, "0" * 64).get(kept[0]) is None


def test_an_interrupted_run_ends_with_the_numbers_of_one_that_was_not(honest, tmp_path):
    def begin():
        settings = EvidenceSettings(metrics=METRICS, explained="label", retests=2, gallery=1, data="phantoms")
        return EvidenceRun(load("demo"), numbered_phantoms(phantom_cases(5)), settings, tmp_path)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin().measure(stop)
    counted = []
    begin().measure(lambda done, total: counted.append(done))
    assert counted[0] == 2
    assert (tmp_path / CASES).read_bytes() == (honest.page.parent / CASES).read_bytes()


# --- the protocol ---------------------------------------------------------------------------------------------


def test_the_protocol_is_there_before_anything_is_measured(tmp_path):
    run = EvidenceRun(
        load("demo"), numbered_phantoms(phantom_cases(2)), EvidenceSettings(metrics=METRICS), tmp_path / "pack"
    )
    held = json.loads((tmp_path / "pack" / "protocol.json").read_text())
    assert held["sha256"] == hashlib.sha256(canonical(held["protocol"])).hexdigest() == run.fixed.sha256
    assert held["protocol"]["rules"]["class_sensitivity"] == 0.2
    assert held["protocol"]["limits"]["artefact_enrichment"] == 3.0
    assert not (tmp_path / "pack" / CASES).exists()
    assert not (tmp_path / "pack" / "results.json").exists()


def test_a_changed_rule_is_refused_or_shown_as_a_deviation(honest, tmp_path):
    made = pack(tmp_path, count=2)
    loose = {"limits": Limits(organ_rank_accuracy=0), "count": 2}
    with pytest.raises(EvidenceError, match=r"differs in limits\.organ_rank_accuracy"):
        pack(tmp_path, **loose)
    changed = pack(tmp_path, **loose, deviation="the organ is large")
    (deviation,) = read(changed, "protocol.json")["deviations"]
    assert deviation["reason"] == "the organ is large"
    assert deviation["changes"] == [{"field": "limits.organ_rank_accuracy", "before": 0.5, "after": 0}]
    page = changed.page.read_text(encoding="utf-8")
    assert "the organ is large" in page
    assert "limits.organ_rank_accuracy: 0.5 → 0" in page
    assert read(changed, "results.json")["protocol_sha256"] == deviation["after"] != deviation["before"]
    assert "Deviations" not in honest.page.read_text(encoding="utf-8")
    assert made.cases == 2


def test_a_protocol_changed_by_hand_is_refused(tmp_path):
    pack(tmp_path, count=2)
    file = tmp_path / "protocol.json"
    file.write_text(file.read_text().replace('"class_sensitivity": 0.2', '"class_sensitivity": 0.0'))
    with pytest.raises(EvidenceError, match="changed after it was fixed"):
        pack(tmp_path, count=2)
    assert any("changed after it was fixed" in line for line in verify(tmp_path).wrong)


def test_other_data_are_another_protocol(tmp_path):
    pack(tmp_path, count=2)
    with pytest.raises(EvidenceError, match=r"data\.sha256"):
        pack(tmp_path, cases=numbered_phantoms(phantom_cases(2, seed=1)))


def test_rules_come_from_a_file_and_mistakes_are_named(tmp_path):
    (tmp_path / "p.yaml").write_text(
        "rules:\n  accuracy: 0.9\n  class_sensitivity: null\nlimits: {organ_energy: 0.7}\n"
    )
    rules, limits = read_rules(read_fields(tmp_path / "p.yaml", "--protocol"))
    assert (rules.accuracy, rules.class_sensitivity, limits.organ_energy) == (0.9, None, 0.7)
    for wrong, told in (
        ({"rules": {"acuracy": 1}}, "acuracy"), ({"rule": {}}, "rule"), ({"rules": {"accuracy": "x"}}, "number"),
        ({"limits": {"x": 1}}, "x"),
    ):  # fmt: skip
        with pytest.raises(CfcamError, match=told):
            read_rules(wrong)


def test_a_rule_of_accuracy_is_judged_by_the_lower_end(tmp_path):
    made = pack(tmp_path, rules=Rules(accuracy=1.1, ece=0.0))
    rules = {rule.name: rule for rule in made.rules}
    assert rules["network: accuracy"].outcome == "flag"
    accuracy = read(made, "results.json")["performance"]["accuracy"]
    assert rules["network: accuracy"].value == pytest.approx(accuracy["low"])
    assert rules["network: calibration error"].value == pytest.approx(
        read(made, "results.json")["performance"]["calibration"]["ece"]["value"]
    )


# --- tampering ------------------------------------------------------------------------------------------------


def test_a_changed_a_missing_and_an_added_file_are_found(tmp_path):
    made = pack(tmp_path, count=2)
    whole = verify(tmp_path)
    assert whole.ok
    assert whole.manifest_sha256 == made.manifest_sha256
    changed = tmp_path / "results.json"
    content = changed.read_bytes()
    changed.write_bytes(content.replace(b"pass", b"Pass", 1))
    (tmp_path / "inputs.csv").unlink()
    (tmp_path / "scorecard" / "more.txt").write_text("x")
    found = verify(tmp_path)
    assert not found.ok
    assert found.changed == ("results.json",)
    assert found.missing == ("inputs.csv",)
    assert found.added == ("scorecard/more.txt",)


def test_a_list_written_anew_is_found_by_its_own_hash_alone(tmp_path):
    (tmp_path / "protocol.json").write_text(json.dumps({"protocol": {}, "sha256": digest({})}))
    (tmp_path / "results.json").write_text(json.dumps({"protocol_sha256": digest({})}))
    kept = seal(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"protocol_sha256": digest({}), "x": 1}))
    seal(tmp_path)
    assert verify(tmp_path).ok
    assert verify(tmp_path, kept).wrong == ("MANIFEST.sha256 is not the one that was given: it was written anew",)
    (tmp_path / "results.json").write_text(json.dumps({"protocol_sha256": "0" * 64}))
    seal(tmp_path)
    assert "another protocol" in verify(tmp_path).wrong[0]


def test_the_list_is_one_that_sha256sum_reads(honest):
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", "MANIFEST.sha256"], cwd=honest.page.parent, capture_output=True, check=False
    )
    assert done.returncode == 0


def test_a_folder_without_a_list_and_a_broken_list_are_named(tmp_path):
    with pytest.raises(EvidenceError, match="has no MANIFEST"):
        verify(tmp_path)
    (tmp_path / "MANIFEST.sha256").write_text(f"{'0' * 64}  ../outside\n")
    with pytest.raises(EvidenceError, match="line 1"):
        verify(tmp_path)


# --- the card, identity ---------------------------------------------------------------------------------------


def test_fields_that_nobody_stated_say_so_and_nothing_is_made_up(honest, tmp_path):
    assert set(read(honest, "model_card.json")["stated"].values()) == {"not stated"}
    page = honest.page.read_text(encoding="utf-8")
    assert f"{len(FIELDS)} of {len(FIELDS)} fields are not stated" in page
    made = pack(tmp_path, count=2, card={"intended_use": "triage <b>of</b> phantoms", "contact": ["a", "b"]})
    stated = read(made, "model_card.json")["stated"]
    assert (stated["intended_use"], stated["contact"]) == ("triage <b>of</b> phantoms", "a; b")
    assert sum(value == "not stated" for value in stated.values()) == len(FIELDS) - 2
    assert "triage &lt;b&gt;of&lt;/b&gt; phantoms" in made.page.read_text(encoding="utf-8")
    with pytest.raises(EvidenceError, match="intended_uses"):
        pack(tmp_path / "x", card={"intended_uses": "x"})
    with pytest.raises(EvidenceError, match="dict"):
        pack(tmp_path / "x", card={"risks": {"a": 1}})


def test_what_the_network_says_of_itself_is_counted(honest):
    network = read(honest, "model_card.json")["network"]
    module = load("demo").module
    assert network["parameters"] == sum(p.numel() for p in module.parameters())
    assert network["architecture"] == "DemoNet"
    assert network["modules"]["Conv2d"] == sum(isinstance(m, torch.nn.Conv2d) for m in module.modules())
    assert network["classes"] == ["no finding", "nodule", "consolidation", "effusion"]


SECRETS = ("PLANTED", "Mustermann", "19010203")


@pytest.fixture
def table(tmp_path):
    """Pictures and patients whose names are identities; two of them cannot be read."""
    folder = tmp_path / "PLANTED-HOSPITAL"
    folder.mkdir()
    rows = [["image", "label", "boxes", "patient", "group"]]
    for n, case in enumerate(phantom_cases(5)):
        phantom = sample_phantom(case.seed)
        name = f"Mustermann_{n}_19010203.png"
        Image.fromarray(phantom.image).save(folder / name)
        label = (phantom.findings or ("no finding",))[0]
        rows.append([name, label, "[[60, 60, 120, 120]]", f"PLANTED^PATIENT{n // 2}", "site A" if n % 2 else "site B"])
    (folder / "Mustermann_broken.png").write_bytes(b"no picture")
    rows.append(["Mustermann_broken.png", "nodule", "", "PLANTED^PATIENT9", "site A"])
    rows.append(["Mustermann_missing.png", "nodule", "", "", "site A"])
    with (folder / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "cases.csv"


def test_no_patient_and_no_file_name_reaches_the_pack(table, tmp_path):
    from cfcam.jobs.inputs.masks import RegionMasks

    organ = RegionMasks("organ", str(table.parent / "organs_PLANTED" / "{stem}.png"))
    made = pack(tmp_path / "pack", cases=numbered(read_table(table, lambda _: None), [organ]), explained="predicted")
    assert made.failed == 2
    for path, content in texts(tmp_path / "pack").items():
        assert not any(secret in path.name for secret in SECRETS)
        for secret in SECRETS:
            assert secret.encode() not in content, (path.name, secret)
    sheet = read(made, "data_sheet.json")
    assert sheet["patients"] == 4
    assert sheet["cases_per_patient"] == {"least": 1, "median": 1.5, "most": 2}
    assert sheet["groups"] == {"site A": 4, "site B": 3}
    assert sheet["missing"]["patient"] == 1
    assert sorted(sheet["not_measured"]) == ["case-0006", "case-0007"]
    with (tmp_path / "pack" / "inputs.csv").open() as file:
        rows = list(csv.DictReader(file))
    first = table.parent / "Mustermann_0_19010203.png"
    assert rows[0]["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert rows[0]["patient"] == rows[1]["patient"] == "patient-0001" != rows[2]["patient"]


def test_one_label_a_case_of_a_network_of_many_leaves_calibration_open(table, tmp_path):
    made = pack(tmp_path / "pack", cases=numbered(read_table(table, lambda _: None)), pictures=False)
    performed = read(made, "results.json")["performance"]
    assert "one label a case" in performed["calibration"]["reason"]
    assert all(one["auc"] is None for one in performed["classes"])
    assert "data:image/jpeg" not in made.page.read_text(encoding="utf-8")
    assert not list((tmp_path / "pack" / "scorecard" / "figures").glob("example*"))


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("/home/PLANTED/nets.py:make", "nets.py:make"),
        ("C:\\PLANTED\\nets.py:make", "nets.py:make"),
        ("/home/PLANTED DOE/n.py:make('/home/PLANTED DOE/best.pt', classes=3)", "n.py:make('best.pt', classes=3)"),
        ("hf:/home/PLANTED/vit/", "hf:vit"),
        ("hf:google/vit-base", "hf:google/vit-base"),
        ("torchvision:resnet50@DEFAULT", "torchvision:resnet50@DEFAULT"),
    ],
)
def test_networks_are_named_without_folders(spec, name, tmp_path):
    notes = (f"{spec} is randomly initialised", "/home/PLANTED/best.pt: holds a training's state")
    settings = EvidenceSettings(metrics=METRICS, data="phantoms", retests=0, gallery=0)
    model = replace(load("demo"), spec=spec, notes=notes)
    run = EvidenceRun(model, numbered_phantoms(phantom_cases(2)), settings, tmp_path)
    assert run._described([])["spec"] == name
    assert run.notes[:2] == [f"{name} is randomly initialised", "best.pt: holds a training's state"]
    assert not any(b"PLANTED" in text for text in texts(tmp_path).values())


# --- numbers --------------------------------------------------------------------------------------------------


# --- software, DICOM, tests, record ---------------------------------------------------------------------------


def test_a_missing_library_is_named_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("cfcam.jobs.evidence.software.find_spec", lambda _: None)
    with pytest.raises(CfcamError, match=r"pip install 'cfcam\[evidence\]'"):
        pack(tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def test_validators_are_run_on_objects_or_said_to_be_missing(tmp_path, monkeypatch):
    import shutil

    pytest.importorskip("highdicom")
    found = validated(tmp_path / "a")
    assert {one["kind"] for one in found["objects"]} == {"seg-fractional", "seg-binary", "sr", "sc", "gsps"}
    for program in VALIDATORS:
        if shutil.which(program):
            assert found["validators"][program] == "run"
            assert [one["errors"][program] for one in found["objects"] if program in one["errors"]]
    assert not any(errors for one in found["objects"] for errors in one["errors"].values())
    monkeypatch.setattr("cfcam.jobs.evidence.dicom.shutil.which", lambda _: None)
    assert set(validated(tmp_path / "b")["validators"].values()) == {NOT_INSTALLED}


def test_the_audits_head_is_certified_and_the_pack_entered(tmp_path):
    pytest.importorskip("sqlalchemy")
    from cfcam.clinical.audit.audit import Audit

    audit = Audit(tmp_path / "audit.db")
    last = audit.append("explain", {"count": 1})
    made = pack(tmp_path / "pack", count=2, record=str(tmp_path / "audit.db"))
    certificate = read(made, "audit_certificate.json")
    assert (certificate["head"], certificate["count"]) == (last.hash, 1)
    assert last.hash in made.page.read_text(encoding="utf-8")
    *_, entered = audit.records()
    assert entered.details["object_sha256"] == made.manifest_sha256
    assert audit.verify(head=certificate["head"]).ok
    assert verify(tmp_path / "pack").ok
