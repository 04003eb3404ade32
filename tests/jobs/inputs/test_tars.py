"""Pictures in tars: which there are, that their bytes are what was put in, and what a tar may not do."""

import io
import json
import pickle
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from cfcam.errors import ImageError, InputError
from cfcam.imaging import read_image
from cfcam.imaging.reading.elsewhere import LARGEST
from cfcam.jobs.index.labels import read_labels
from cfcam.jobs.inputs.find import find_inputs
from cfcam.jobs.inputs.places import given
from cfcam.jobs.inputs.shard import Shard
from cfcam.jobs.inputs.tars import Member, pictures_in, tars
from cfcam.jobs.runs.status import status
from tests.jobs.world import draw, lines, run, written

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def packed(path, members, form=tarfile.PAX_FORMAT):
    """Writes a tar of (name, bytes, changes of the header)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data, *changes in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            for key, value in (changes[0] if changes else {}).items():
                setattr(header, key, value)
            tar.addfile(header, io.BytesIO(data))
    return path


def drawn(folder, count):
    """The bytes of different pictures."""
    return [draw(folder / f"{n}.png", corner=n % 4, grey=40 + n).read_bytes() for n in range(count)]


def names(tar):
    return [one.relative_to(tar).as_posix() for one in pictures_in(tar)]


@pytest.mark.parametrize("form", FORMATS)
def test_the_picture_of_each_sample_is_found_with_its_bytes_however_the_tar_says_its_name(tmp_path, form):
    long = f"{'d' * 90}/{'ü' * 20}{'' if form == tarfile.USTAR_FORMAT else 'e' * 300}.png"
    put = [
        *(("./a/01.jpg", b"one"), ("a/01.cls", b"3"), ("a/01.seg.png", b"mask"), (long, b"long" * 300)),
        *(("1.2.840.1.dcm", b"first"), ("1.2.840.2.DCM", b"second"), ("._01.jpg", b"of a Mac"), ("b/", b"")),
    ]
    tar = packed(tmp_path / "x.tar", put, form)
    assert names(tar) == ["a/01.jpg", long, "1.2.840.1.dcm", "1.2.840.2.DCM"]
    assert [one.content() for one in pictures_in(tar)] == [b"one", b"long" * 300, b"first", b"second"]


def test_what_could_lead_out_of_a_tar_is_not_followed_and_says_so(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    tar = packed(
        tmp_path / "x.tar",
        [
            ("../secret.png", b"x"),
            (str(tmp_path / "secret.png"), b"x"),
            ("soft.png", b"", {"type": tarfile.SYMTYPE, "linkname": "secret.png"}),
            ("hard.png", b"", {"type": tarfile.LNKTYPE, "linkname": "two.png"}),
            ("pipe.png", b"", {"type": tarfile.FIFOTYPE}),
            *(("two.png", b"1"), ("two.png", b"2"), ("none.png", b""), ("good.png", b"good")),
        ],
    )
    told = {}
    for one in pictures_in(tar):
        try:
            told[one.name.split()[-1]] = one.content()
        except ImageError as error:
            told[one.name.split()[-1]] = str(error).split(" (")[0]
    assert told == {
        "secret.png": "its name leads out of the tar",
        "soft.png": "is a link, and links are not followed",
        "hard.png": "is a link, and links are not followed",
        "pipe.png": "is no plain file",
        "two.png": "stands in the tar 2 times, and which is meant is not known",
        "none.png": "is empty",
        "good.png": b"good",
    }
    assert all(tar in one.parents for one in pictures_in(tar))


def test_of_a_torn_tar_all_that_is_whole_is_read_and_the_rest_is_told(tmp_path):
    tar = packed(tmp_path / "x.tar", [(f"{n}.png", bytes([n]) * 700) for n in range(4)], tarfile.USTAR_FORMAT)
    whole = tar.read_bytes()
    tar.write_bytes(whole[: 2 * 1536 + 512 + 300])
    assert names(tar) == ["0.png", "1.png", "2.png", "behind byte 4608"]
    assert Member(tar, "1.png").content() == b"\1" * 700
    with pytest.raises(ImageError, match="the tar ends in the middle of it"):
        Member(tar, "2.png").content()
    with pytest.raises(ImageError, match="ends without its last block, and may be cut off at byte 4608"):
        Member(tar, "behind byte 4608").content()
    tar.write_bytes(whole[:1536] + b"\7" * 512 + whole[2048:])
    assert names(tar) == ["0.png", "behind byte 1536"]
    with pytest.raises(ImageError, match="is damaged at byte 1536: what follows is not read"):
        Member(tar, "behind byte 1536").content()


def test_what_headers_claim_is_not_believed(tmp_path):
    header = tarfile.TarInfo("big.png")
    header.size = LARGEST + 1
    tar = tmp_path / "x.tar"
    tar.write_bytes(header.tobuf())
    with pytest.raises(ImageError, match="has 512 MB, more than the 512 MB that are read from a tar"):
        Member(tar, "big.png").content()
    header.type, header.size = tarfile.XHDTYPE, 8 << 30
    tar.write_bytes(
        packed(tmp_path / "y.tar", [("a.png", b"a")]).read_bytes()[:1024] + header.tobuf(tarfile.GNU_FORMAT)
    )
    assert names(tar) == ["a.png", "behind byte 1024"]
    with pytest.raises(ImageError, match="has a header of 8589934592 bytes"):
        Member(tar, "behind byte 1024").content()


def test_what_is_no_tar_is_told(tmp_path):
    for data, told in (
        (b"\x1f\x8b" + bytes(600), "is compressed"),
        (b"no tar" * 100, "is no tar"),
        (packed(tmp_path / "z.tar", [("a.txt", b"a")]).read_bytes(), "holds no picture"),
    ):
        (tmp_path / "x.tar").write_bytes(data)
        with pytest.raises(ImageError, match=told):
            find_inputs([tmp_path / "x.tar"], output=tmp_path / "out")
    assert tars(tmp_path / "none.tar") == []


def test_braces_and_globs_name_several_and_one_that_is_missing_is_told(tmp_path):
    for n in (1, 2, 3):
        packed(tmp_path / f"train-{n:03d}.tar", [("a.png", b"a")])
    assert [tar.name for tar in tars(tmp_path / "train-{001..003}.tar")] == [f"train-00{n}.tar" for n in (1, 2, 3)]
    assert [tar.name for tar in tars(tmp_path / "train-*.tar")] == [f"train-00{n}.tar" for n in (1, 2, 3)]
    assert [tar.name for tar in tars(tmp_path / "train-{003,001}.tar")] == ["train-003.tar", "train-001.tar"]
    with pytest.raises(ImageError, match=r"train-004\.tar: no such file"):
        tars(tmp_path / "train-{001..004}.tar")
    found = find_inputs([tmp_path / "train-{001..003}.tar"], output=tmp_path / "out")
    assert [one.folder for one in found] == [PurePosixPath(f"train-00{n}") for n in (1, 2, 3)]


def test_a_member_is_a_path_wherever_it_travels(tmp_path, monkeypatch):
    packed(tmp_path / "x.tar", [("deep/a.png", draw(tmp_path / "a.png", size=(12, 20)).read_bytes())])
    monkeypatch.chdir(tmp_path)
    one = given("x.tar/deep/a.png")
    assert read_image(one).size == (12, 20)
    away = pickle.loads(pickle.dumps(one.everywhere))  # noqa: S301
    monkeypatch.chdir("/")
    assert away == tmp_path / "x.tar" / "deep" / "a.png"
    assert read_image(away).sha256 == read_image(tmp_path / "a.png").sha256
    with pytest.raises(ImageError, match=r"x\.tar/none\.png: is not in the tar; check the name"):
        read_image(given(tmp_path / "x.tar" / "none.png"))
    assert type(given(tmp_path / "a.png")) is type(Path())


def files(out):
    return {name: (out / name).read_bytes() for name in written(out) if name.endswith(".png")}


def test_a_run_over_tars_writes_what_one_over_files_does_goes_on_and_is_shared_out(tmp_path):
    pictures = drawn(tmp_path / "in" / "train-0", 3)
    shards = [packed(tmp_path / "train-0.tar", [(f"{n}.png", data) for n, data in enumerate(pictures)])]
    shards += [packed(tmp_path / "train-1.tar", [("0.png", pictures[1]), ("bad.png", b"no picture")])]
    out = tmp_path / "out"
    statuses = [outcome.status for outcome in run(shards, out, batch_size=1)]
    assert statuses == ["done", "done", "done", "done", "failed"]
    list(run(tmp_path / "in", tmp_path / "files", recursive=True, batch_size=1))
    assert {name: files(out)[name] for name in files(tmp_path / "files")} == files(tmp_path / "files")
    assert lines(out)[0]["input"] == str(tmp_path / "train-0.tar" / "0.png")
    assert [line["name"] for line in lines(out)] == ["train-0/0", "train-0/1", "train-0/2", "train-1/0", "train-1/bad"]
    for verify in (False, True):
        again = [outcome.status for outcome in run(shards, out, batch_size=1, verify=verify)]
        assert again == ["skipped", "skipped", "skipped", "skipped", "failed"]
    assert (status(out).done, status(out).failed, status(out).inputs) == (4, 1, 5)
    packed(shards[1], [("0.png", pictures[2]), ("bad.png", b"no picture")])
    assert [outcome.status for outcome in run(shards, out, batch_size=1)] == [*["skipped"] * 3, "done", "failed"]
    parts = [list(run(shards, tmp_path / "shards", shard=Shard(n, 2), batch_size=1)) for n in (1, 2)]
    assert sum(map(len, parts)) == 5
    list(run(shards, tmp_path / "shards", batch_size=1))
    assert files(tmp_path / "shards") == files(out)


def test_names_stay_with_those_that_had_them_when_other_tars_come_into_the_folder(tmp_path):
    one, two = drawn(tmp_path / "in", 2)
    first, second = (
        packed(tmp_path / "a" / "x.tar", [("0.png", one)]),
        packed(tmp_path / "b" / "x.tar", [("0.png", two)]),
    )
    list(run(first, tmp_path / "out"))
    before = files(tmp_path / "out")
    list(run(second, tmp_path / "out"))
    assert before.items() <= files(tmp_path / "out").items()
    assert len(files(tmp_path / "out")) == 2 * len(before)


def test_lists_name_members_and_a_study_of_one_is_refused(tmp_path):
    packed(tmp_path / "x.tar", [("0.png", drawn(tmp_path / "in", 1)[0])])
    (tmp_path / "list.csv").write_text("path\nx.tar/0.png\nin/0.png\n")
    found = find_inputs([tmp_path / "list.csv"], output=tmp_path / "out")
    assert [type(one.path) for one in found] == [Member, type(Path())]
    assert [one.key for one in found] == [str(tmp_path / "x.tar" / "0.png"), str(tmp_path / "in" / "0.png")]
    from cfcam.jobs import StudySettings
    from cfcam.jobs.runs.plan import named

    with pytest.raises(InputError, match="studies are made of files: unpack the tar"):
        named(found, StudySettings())
    json.dumps([one.key for one in found])


def test_of_what_a_list_names_and_a_tar_lacks_the_line_is_told(tmp_path):
    data = drawn(tmp_path / "in", 1)[0]
    packed(tmp_path / "x.tar", [("0.png", data)])
    (tmp_path / "no.tar").write_bytes(b"no tar")
    (tmp_path / "list.csv").write_text("path\nx.tar/9.png\nx.tar/0.png\nno.tar/0.png\n")
    outcomes = list(run(tmp_path / "list.csv", tmp_path / "out"))
    assert [outcome.status for outcome in outcomes] == ["failed", "done", "failed"]
    assert outcomes[0].error == "is not in the tar; check the name (line 2 of list.csv)"
    assert "tar" in outcomes[2].error


def test_labels_find_members_of_one_name_in_several_tars(tmp_path):
    data = drawn(tmp_path / "in", 1)[0]
    shards = [packed(tmp_path / f"x-{n}.tar", [("0.png", data)]) for n in range(2)]
    (tmp_path / "labels.csv").write_text("image,label\nx-0.tar/0.png,bright\nx-1.tar/0.png,dark\n")
    inputs = find_inputs(shards, output=tmp_path / "out")
    labels = read_labels(str(tmp_path / "labels.csv"), inputs, ("bright", "dark"))
    assert [labels.of[str(one.absolute)] for one in inputs] == [0, 1]
