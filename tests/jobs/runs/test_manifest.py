import json
from dataclasses import replace

import pytest

from cfcam.files import settings_hash, sha256_of
from cfcam.jobs.runs.manifest import Explained, Manifest, Record, State
from cfcam.jobs.runs.standing import verified
from tests.jobs.world import draw, lines, run, written

RECORD = Record(
    input="/in/a.png",
    sha256="12",
    status=State.DONE,
    error=None,
    name="a",
    layer="layer4",
    targets=(Explained(1, "nodule", 0.5, {"cam": "ok"}),),
    files={"a_cam.png": "34"},
    seconds=0.5,
    settings="s1",
    cfcam="0",
)
FAILED = replace(RECORD, status=State.FAILED, error="broken", files={}, targets=())


def entered(folder, *records):
    manifest = Manifest.open(folder)
    for record in records:
        manifest.append(record)
    return manifest


def test_a_line_gives_back_its_record():
    odd = replace(RECORD, input="/in/\udcff\n結節.png")
    assert Record.parse(odd.line().rstrip(b"\n")) == odd
    assert odd.line().count(b"\n") == 1


def test_every_class_keeps_its_probability_and_its_place_to_the_last_digit():
    told = replace(RECORD, probabilities={"zebra": 0.1 + 0.2, "ape": 3e-9, "結節": 1.0})
    parsed = Record.parse(told.line())
    assert parsed == told
    assert list(parsed.probabilities) == ["zebra", "ape", "結節"]


def test_lines_of_earlier_and_of_later_versions_are_read():
    earlier = json.loads(RECORD.line())
    assert "probabilities" not in earlier
    assert Record.parse(json.dumps({**earlier, "notices": []}).encode()) == RECORD
    later = {**earlier, "mood": "calm", "targets": [{**earlier["targets"][0], "colour": "blue"}]}
    assert Record.parse(json.dumps(later).encode()) == RECORD
    assert Record.parse(json.dumps({**earlier, "probabilities": [1]}).encode()) is None


@pytest.mark.parametrize("place", ["../b", "/etc/b", "a/../../b", "..", "", "C:\\b", "\\\\server\\b", "a\0b", 7, None])
def test_a_line_that_names_what_lies_elsewhere_is_no_record(place):
    values = json.loads(RECORD.line())
    assert Record.parse(json.dumps({**values, "name": place}).encode()) is None
    assert Record.parse(json.dumps({**values, "glance": {"thumb": place or "../b"}}).encode()) is None
    if isinstance(place, str):
        assert Record.parse(json.dumps({**values, "files": {place: "34"}}).encode()) is None
    assert Record.parse(json.dumps({**values, "files": {"a_cam.png": 34}}).encode()) is None
    assert Record.parse(json.dumps({**values, "name": "ward..3/a"}).encode()).name == "ward..3/a"


def test_a_run_writes_nothing_outside_of_its_folder_whatever_the_manifest_says(tmp_path):
    source = draw(tmp_path / "in" / "a.png")
    out = tmp_path / "deep" / "out"
    list(run(tmp_path / "in", out))
    (line,) = lines(out)
    planted = {**line, "name": "../../planted", "files": {"../../planted_grad-cam.png": "00"}, "input": str(source)}
    (out / "manifest.jsonl").write_text(json.dumps(planted) + "\n")
    assert written(tmp_path / "deep") == ["out/a_grad-cam.png", "out/manifest.jsonl", "out/run.json"]
    list(run(tmp_path / "in", out))
    assert written(tmp_path / "deep") == ["out/a_grad-cam.png", "out/manifest.jsonl", "out/run.json"]
    assert [line["name"] for line in lines(out)] == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "in"]


def test_a_line_is_on_disk_as_soon_as_it_is_appended(tmp_path):
    entered(tmp_path, RECORD)
    assert (tmp_path / "manifest.jsonl").read_bytes() == RECORD.line()


def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(tmp_path):
    second = replace(RECORD, name="b", files={})
    (tmp_path / "manifest.jsonl").write_bytes(RECORD.line() + second.line()[:40])
    manifest = entered(tmp_path, second)
    assert manifest.path.read_bytes() == RECORD.line() + second.line()


def test_a_picture_done_again_or_after_a_failure_has_one_line(tmp_path):
    again = replace(RECORD, seconds=9.0)
    for first, second in ((RECORD, again), (FAILED, RECORD)):
        folder = tmp_path / first.status
        folder.mkdir()
        entered(folder, first).close()
        entered(folder, second).close()
        assert (folder / "manifest.jsonl").read_bytes() == second.line()


def test_other_settings_have_their_own_line_until_their_files_are_overwritten(tmp_path):
    other = replace(RECORD, settings="s2", files={"a_grad-cam.png": "56"})
    manifest = entered(tmp_path, RECORD, other)
    manifest.close()
    assert [r.settings for r in Manifest.open(tmp_path).records] == ["s1", "s2"]
    third = replace(RECORD, settings="s3")
    entered(tmp_path, third).close()
    assert [r.settings for r in Manifest.open(tmp_path).records] == ["s2", "s3"]


def test_only_done_records_are_found_and_only_for_their_settings(tmp_path):
    entered(tmp_path, RECORD, replace(FAILED, name="b")).close()
    manifest = Manifest.open(tmp_path)
    assert manifest.find("a", "s1") == RECORD
    assert manifest.find("a", "s2") is None
    assert manifest.find("b", "s1") is None


def test_a_record_is_verified_by_the_content_of_its_files(tmp_path):
    file = tmp_path / "a_cam.png"
    file.write_bytes(b"picture")
    record = replace(RECORD, files={"a_cam.png": sha256_of(file)})
    assert verified(record, tmp_path)
    file.write_bytes(b"Picture")
    assert not verified(record, tmp_path)
    file.unlink()
    assert not verified(record, tmp_path)


def test_the_settings_hash_does_not_depend_on_the_order_of_keys():
    assert settings_hash({"a": 1, "b": [2]}) == settings_hash({"b": [2], "a": 1})
    assert settings_hash({"a": 1}) != settings_hash({"a": 2})
