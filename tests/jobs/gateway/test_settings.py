"""A gateway's file: what it may say, and in one line what it may not."""

from __future__ import annotations

import pytest

pytest.importorskip("pydicom")

from cfcam.errors import JobError
from cfcam.exchange import KINDS as WRITTEN
from cfcam.jobs.gateway.example import example
from cfcam.jobs.gateway.settings import KINDS, read_settings

LEAST = """
[spool]
folder = "here"
[watch]
folder = "in"
[network.chest]
model = "demo"
[[rule]]
name = "all"
networks = ["chest"]
"""


def read(folder, text):
    path = folder / "gateway.toml"
    path.write_text(text)
    return read_settings(path)


def test_the_least_that_a_gateway_needs_and_paths_from_the_folder_of_its_file(tmp_path):
    settings = read(tmp_path, LEAST)
    assert settings.spool.folder == tmp_path / "here"
    assert settings.watch.folder == tmp_path / "in"
    assert settings.network["chest"].methods == ("cf-cam",)
    assert settings.rule[0].networks == ("chest",)
    assert settings.results.objects == ("seg", "sr", "sc")
    assert settings.receive is settings.send is None


def test_the_kinds_of_results_are_those_that_can_be_written():
    assert set(KINDS) == set(WRITTEN)


def test_the_example_can_be_read_listens_to_this_machine_alone_and_says_every_key(tmp_path):
    settings = read(tmp_path, example())
    assert settings.receive.host == settings.health.host == "127.0.0.1"
    assert settings.receive.calling == ("ARCHIVE",)
    assert settings.watch is settings.poll is None
    assert not [line for line in example().splitlines() if line == "#"]
    for key in ("least_free_mb", "password_env", "not_image_type", "longest_wait_s", "deidentify_key", "silence_s"):
        assert f"# {key} =" in example()


@pytest.mark.parametrize(
    ("wrong", "right", "told"),
    [
        ("[watch]", "[wacht]", r"there is no 'wacht'; nearest: watch"),
        ('folder = "in"', 'foldre = "in"', r"\[watch\]: there is no 'foldre'; nearest: folder"),
        ('folder = "in"', "", r"\[watch\]: folder is missing: to look into"),
        ('folder = "in"', "folder = 3", r"\[watch\] folder: is 3: give a path"),
        ('folder = "in"', 'folder = "in"\nevery_s = "5"', r"\[watch\] every_s: is a str: give a number"),
        ('folder = "in"', 'folder = "in"\nevery_s = 0', r"\[watch\]: every_s is 0: give a number above 0"),
        ('["chest"]', '["chets"]', r"rule all: there is no \[network.chets\]; nearest: chest"),
        ('["chest"]', '"chest"', r"\[rule\], value 1 networks: is to be a list"),
        ('["chest"]', '["chest"]\nby = "study"', r"by: is a str: give object, series"),
        ('["chest"]', '["chest"]\nplane = ["axal"]', r"plane 'axal': give some of axial, coronal"),
        ('["chest"]', '["chest"]\ndescription = ["("]', r"description '\('"),
        ('["chest"]', '["chest"]\nfewest_slices = 3', r'a number of slices is for by = "series"'),
        ("[spool]", "[receive]\ncalling = []\n[spool]", r"\[receive\]: calling is empty"),
        ("[spool]", '[receive]\ncalling = ["a\\\\b"]\n[spool]', r"AE title has 1 to 16"),
        ("[spool]", '[results]\nobjects = ["jpg"]\n[spool]', r"\[results\]: objects 'jpg': give some of pm"),
        ("[spool]", "[results]\ncomparison = true\n[spool]", r"\[results\] comparison: say in \[prior\] where"),
        ("[spool]", '[send]\nplace = "ftp://a"\n[spool]', r"no place is called 'ftp://a'"),
        ("[spool]", "[spool", r"gateway.toml: "),
        ('[spool]\nfolder = "here"\n', "", r"^gateway.toml: \[spool\] is missing \(where objects lie\): add it, as"),
        ("[spool]", '[send]\nplace = "http://b/x"\nuser = "me"\n[spool]', r"\[send\]: user is given without a pass"),
        ('[watch]\nfolder = "in"', "", r"there is no \[receive\], \[watch\] or \[poll\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_in_one_line(tmp_path, wrong, right, told):
    assert wrong in LEAST
    with pytest.raises(JobError, match=told) as found:
        read(tmp_path, LEAST.replace(wrong, right, 1))
    assert "\n" not in str(found.value)


def test_a_password_that_stands_in_the_file_is_not_repeated(tmp_path):
    with pytest.raises(JobError) as found:
        read(tmp_path, f'{LEAST}\n[send]\nplace = "dicom://A@b:104"\npassword = "geheim"\n')
    assert "geheim" not in str(found.value)
    with pytest.raises(JobError) as found:
        read(tmp_path, f'{LEAST}\n[send]\nplace = "http://me:geheim@b/dicom-web"\n')
    assert "geheim" not in str(found.value)


def test_a_gateway_that_would_receive_its_own_results_is_refused(tmp_path):
    circle = '[receive]\ncalling = ["A"]\nport = 4242\n[send]\nplace = "dicom://CFCAM@localhost:4242"\n'
    with pytest.raises(JobError, match="is the gateway itself"):
        read(tmp_path, circle + LEAST)
