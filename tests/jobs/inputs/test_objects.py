"""Pictures in an object store: listed, bounded, read, and done once, as files are; what opens it is told to nobody."""

import os
from pathlib import PurePosixPath

import pytest
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.errors import ImageError, InputError, MissingExtraError
from cfcam.imaging import read_image
from cfcam.jobs.cases.case import load_case
from cfcam.jobs.cases.folder import find_cases
from cfcam.jobs.inputs import objects
from cfcam.jobs.inputs.find import find_inputs
from cfcam.jobs.inputs.lists import entries_in
from cfcam.jobs.inputs.objects import Address, address
from cfcam.jobs.inputs.places import given
from cfcam.jobs.inputs.shard import Shard
from cfcam.jobs.runs.status import status
from tests.jobs.inputs.object_store import SECRET, served
from tests.jobs.world import PLAIN, draw, lines, run, written


@pytest.fixture(scope="module")
def store():
    with served() as filled:
        filled.mkdir("bucket")
        yield filled


def put(store, where, path, **how):
    data = draw(path, **how).read_bytes()
    store.pipe_file(where, data)
    return data


@pytest.fixture
def scans(store, tmp_path):
    """A prefix of its own, with pictures beside and below each other."""
    prefix = f"bucket/{tmp_path.name}"
    for n, name in enumerate(("a.png", "b [1].png", "deep/a.png")):
        put(store, f"{prefix}/{name}", tmp_path / "in" / name, corner=n, grey=40 + n)
    store.pipe_file(f"{prefix}/.hidden.png", b"x")
    store.pipe_file(f"{prefix}/notes.txt", b"x")
    return prefix


def keys(text, **how):
    return [one.key for one in find_inputs([text], output="/nowhere", **how)]


def test_a_prefix_a_pattern_an_object_and_a_list_name_inputs(store, scans):
    url = f"s3://{scans}"
    near, far = [f"{url}/a.png", f"{url}/b [1].png"], f"{url}/deep/a.png"
    assert keys(url) == keys(f"{url}/") == near
    assert keys(url, recursive=True) == [*near, far]
    assert keys(f"{url}/*.png") == near
    assert keys(f"{url}/*/*.png") == keys(far) == [far]
    assert keys(f"{url}/b [1].png") == [near[1]]  # an object of this very name, and no pattern
    assert [one.folder for one in find_inputs([url], output="/nowhere", recursive=True)] == [
        *[PurePosixPath()] * 2,
        PurePosixPath("deep"),
    ]
    store.pipe_file(f"{scans}/list.csv", f"path\ndeep/a.png\n{near[0]}\n".encode())
    assert keys(f"{url}/list.csv") == [far, near[0]]
    store.pipe_file(f"{scans}/up.csv", b"path\n../secret.png\n")
    with pytest.raises(InputError, match=r"up\.csv: line 2: .* has an empty part, '\.' or '\.\.' in its key"):
        entries_in(given(f"{url}/up.csv"))


def test_lists_here_name_objects_and_parquet_there_names_files(store, scans, tmp_path):
    pandas = pytest.importorskip("pandas")
    (tmp_path / "list.csv").write_text(f"path\ns3://{scans}/a.png\nin/a.png\n")
    assert keys(tmp_path / "list.csv") == [f"s3://{scans}/a.png", str(tmp_path / "in" / "a.png")]
    store.pipe_file(f"{scans}/list.parquet", pandas.DataFrame({"path": ["deep/a.png"]}).to_parquet())
    assert keys(f"s3://{scans}/list.parquet") == [f"s3://{scans}/deep/a.png"]


def test_what_is_not_there_is_told_in_one_line(store, scans):
    for text, told in (
        (f"s3://{scans}/none/", "there is no such object"),
        ("s3://no-such-bucket", "there is no such object"),
        (f"s3://{scans}/*.tif", "the pattern matches no picture"),
        ("s3://buck*/a.png", "the name of a bucket is no pattern"),
    ):
        with pytest.raises((ImageError, InputError), match=told):
            find_inputs([text], output="/nowhere")
    with pytest.raises(ImageError, match=r"^s3://bucket/none\.png: there is no such object; check the address$"):
        read_image(given("s3://bucket/none.png"))


def test_sizes_are_looked_at_before_anything_is_taken(store, scans, monkeypatch):
    place = given(f"s3://{scans}/a.png")
    monkeypatch.setattr(objects, "LARGEST", len(place.content()) - 1)
    taken = []
    monkeypatch.setattr(
        objects,
        "_asked",
        lambda place, what, real=objects._asked, **how: (taken.append(what), real(place, what, **how))[1],
    )
    with pytest.raises(ImageError, match="more than the 0 MB that are read of an object"):
        place.content()
    assert taken == ["info"]
    listed = find_inputs([f"s3://{scans}"], output="/nowhere")[0].path
    taken.clear()
    with pytest.raises(ImageError, match="more than"):
        listed.content()
    assert taken == []  # the listing has told
    store.pipe_file(f"{scans}/empty.png", b"")
    with pytest.raises(ImageError, match="the object is empty"):
        given(f"s3://{scans}/empty.png").content()


def files(out):
    return {name: (out / name).read_bytes() for name in written(out) if name.endswith(".png")}


def test_a_run_over_objects_writes_what_one_over_files_does_goes_on_and_is_shared_out(store, scans, tmp_path):
    store.pipe_file(f"{scans}/broken.png", b"no picture")
    url, out = f"s3://{scans}", tmp_path / "out"

    def states(**how):
        return [o.status for o in run(url, how.pop("output", out), recursive=True, batch_size=1, **how)]

    assert states() == ["done", "done", "failed", "done"]
    list(run(tmp_path / "in", tmp_path / "files", recursive=True, batch_size=1))
    assert files(out) == files(tmp_path / "files")
    assert lines(out)[0]["input"] == f"{url}/a.png"
    assert (status(out).done, status(out).failed) == (3, 1)
    assert states(verify=True) == states() == ["skipped", "skipped", "failed", "skipped"]
    put(store, f"{scans}/a.png", tmp_path / "new.png", corner=3, grey=99)
    assert states() == ["done", "skipped", "failed", "skipped"]
    shared = [len(states(output=tmp_path / "shards", shard=Shard(n, 2))) for n in (1, 2)]
    assert sum(shared) == 4
    states(output=tmp_path / "shards")
    assert files(tmp_path / "shards") == files(out)


def test_what_a_listing_told_is_enough_to_go_on(store, scans, tmp_path, monkeypatch):
    out = tmp_path / "out"
    settled = [monkeypatch.setattr("cfcam.jobs.runs.standing.is_settled", lambda stamp: True)]
    list(run(f"s3://{scans}", out))
    asked = []
    monkeypatch.setattr(
        objects,
        "_asked",
        lambda place, what, real=objects._asked, **how: (asked.append(what), real(place, what, **how))[1],
    )
    assert {o.status for o in run(f"s3://{scans}", out)} == {"skipped"}
    assert asked == ["info", "ls"]  # is it an object, and what lies below: nothing for each picture
    assert settled == [None]


def test_what_opens_a_store_stands_nowhere(store, scans, tmp_path, monkeypatch):
    def cfcam(*words):
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["explain", *words]).output

    monkeypatch.chdir(tmp_path)
    place = f"s3://{scans}"
    store.pipe_file(f"{scans}/broken.png", b"no picture")
    told = cfcam(place, "-o", "out", "--method", "grad-cam", "--index")
    assert "2 explained" in told
    assert "broken.png" in told
    for name in written(tmp_path / "out"):
        assert SECRET.encode() not in (tmp_path / "out" / name).read_bytes(), name
    assert SECRET not in told
    for text in (
        "s3://user:opensesame@bucket/a.png",
        "s3://bucket/a.png?X-Amz-Signature=opensesame",
        "s3://b/a#opensesame",
    ):
        told = cfcam(text, "-o", "none")
        assert "opensesame" not in told
        assert "no user, no password and no query" in " ".join(told.split())
    assert not (tmp_path / "none").exists()


def test_a_store_that_is_away_is_told_without_its_secrets(store, monkeypatch):
    monkeypatch.setattr(objects, "_store", lambda scheme: Raising())
    with pytest.raises(ImageError) as error:
        Address("s3://bucket/a.png").content()
    assert str(error.value) == "the store does not give it (RuntimeError: … of http://host/x was refused)"
    assert error.value.__cause__ is None


class Raising:
    def info(self, inner):
        raise RuntimeError(f"{os.environ['AWS_SECRET_ACCESS_KEY']} of http://me:pw@host/x?token=1 was refused")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://host/a.png", "inputs are read from object stores .*, from folders and from tars; copy it here"),
        ("file:///etc/passwd", "is no address of an object|inputs are read from object stores"),
        ("s3://", "is no address of an object"),
        ("s3://bucket?token=1", "no user, no password and no query"),
        ("s3://bucket//a.png", "has an empty part"),
        ("s3://bucket/../a.png", "has an empty part, '.' or '..' in its key"),
    ],
)
def test_other_urls_are_refused(text, told):
    with pytest.raises(InputError, match=told):
        address(text)


def test_a_library_that_is_missing_is_named_with_the_extra_before_anything_is_asked(monkeypatch):
    monkeypatch.setattr(objects, "find_spec", lambda name: None if name == "s3fs" else object())
    with pytest.raises(
        MissingExtraError, match=r"s3:// needs s3fs, which is not installed: pip install 'cfcam\[object-store\]'"
    ):
        address("s3://bucket/a.png")
    assert address("scans/a.png") is None


def test_cases_of_an_object_store_are_found_as_in_a_folder(store, scans, tmp_path):
    put(store, f"{scans}/nodule/c.png", tmp_path / "c.png")
    put(store, f"{scans}/masks/c.png", tmp_path / "mask.png")
    cases = {case.name: case for case in find_cases(f"s3://{scans}", ("nodule", "mass"))}
    assert list(cases) == ["a.png", "b [1].png", "deep/a.png", "nodule/c.png"]
    assert cases["nodule/c.png"].label == "nodule"
    assert [str(mask) for mask in cases["nodule/c.png"].masks] == [f"s3://{scans}/masks/c.png"]
    sample = load_case(cases["nodule/c.png"], PLAIN, ("nodule", "mass"))
    assert (sample.label, sample.ground_truth is None) == (0, False)
    before = cases["a.png"].identity()
    put(store, f"{scans}/a.png", tmp_path / "new.png", corner=3)
    assert find_cases(f"s3://{scans}")[0].identity() != before
    (tmp_path / "cases.csv").write_text(f"image,label\ns3://{scans}/a.png,1\n")
    assert load_case(find_cases(tmp_path / "cases.csv")[0], PLAIN, 2).label == 1


@pytest.mark.parametrize("name", ["x.tar", "deep/X.TAR", "x.tar.gz", "x.tgz"])
def test_a_tar_in_a_store_is_told_without_asking_the_store(name):
    with pytest.raises(ImageError, match=r"tars are read from a disk only: copy it to one"):
        find_inputs([f"s3://nowhere/{name}"], output="/nowhere")
