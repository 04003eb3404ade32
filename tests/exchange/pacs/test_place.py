from __future__ import annotations

import pickle
import traceback
from dataclasses import replace

import pytest

from cfcam.errors import InputError
from cfcam.exchange.pacs.place import Access, Place, Secret

PLANTED = "planted-0451"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("dicom://ARCHIVE@pacs.example:11112", Place("dicom", "pacs.example", 11112, called_ae="ARCHIVE")),
        ("dicom://MY PACS@10.0.0.7", Place("dicom", "10.0.0.7", 104, called_ae="MY PACS")),
        ("dicoms://A@[fd00::7]:2762", Place("dicoms", "fd00::7", 2762, called_ae="A")),
        ("DICOMS://A@pacs", Place("dicoms", "pacs", 2762, called_ae="A")),
        ("http://127.0.0.1:8042/dicom-web/", Place("http", "127.0.0.1", 8042, path="/dicom-web")),
        ("https://pacs.example/a/b-c", Place("https", "pacs.example", 443, path="/a/b-c")),
        ("https://[::1]:8443", Place("https", "::1", 8443)),
    ],
)
def test_a_place_is_one_word_and_reads_what_it_writes(text, place):
    assert Place.parse(text) == place
    assert Place.parse(str(place)) == place


def test_the_address_of_a_service_has_its_port_so_that_it_is_never_guessed_twice():
    assert Place.parse("https://pacs.example/dicom-web/").url == "https://pacs.example:443/dicom-web"
    assert (Place.parse("dicoms://A@x").tls, Place.parse("http://x/y").tls) == (True, False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "give dicom://"),
        ("pacs:104", "give dicom://"),
        ("ftp://A@pacs", "give dicom://"),
        ("dicom://pacs:104", "AE title is ''"),
        ("dicom://@pacs:104", "AE title is ''"),
        ("dicom://SEVENTEENLETTERSX@pacs", "1 to 16"),
        ("dicom://A\\B@pacs", "1 to 16"),
        ("dicom://A@", "has no host"),
        ("dicom://A@pacs:99999", "no host and port"),
        ("dicom://A@pacs/path", "has no path"),
        ("https://pacs/dicom-web?patient=1", "address of the service alone"),
        ("https:///dicom-web", "has no host"),
        ("http://pa cs/x", "has no host"),
        (f"http://me:{PLANTED}@pacs/x", "does not belong into an address"),
        (f"http://{PLANTED}@pacs/x", "does not belong into an address"),
        (f"dicom://me:{PLANTED}@pacs", "does not belong into an address"),
        (f"ftp://me:{PLANTED}@pacs", "give dicom://"),
    ],
)
def test_what_is_no_place_is_one_line_that_repeats_no_password(text, told):
    with pytest.raises(InputError) as caught:
        Place.parse(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert PLANTED not in str(caught.value)


def test_a_secret_is_nowhere_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("MY_PASSWORD", PLANTED)
    (tmp_path / "token").write_text(f"{PLANTED}\nwhat follows is no part of it\n")
    for secret in (Secret.from_environment("MY_PASSWORD"), Secret.from_file(tmp_path / "token")):
        assert secret.reveal() == PLANTED
        access = Access(user="me", password=secret)
        shown = [repr(secret), str(secret), f"{secret}", repr(access), str(replace(access, user="you"))]
        with pytest.raises(TypeError) as caught:
            pickle.dumps(access)
        shown += traceback.format_exception(caught.value)
        assert [text for text in shown if PLANTED in text] == []


def test_a_secret_that_is_not_there_is_told_by_its_name_alone(monkeypatch, tmp_path):
    monkeypatch.delenv("MY_PASSWORD", raising=False)
    with pytest.raises(InputError, match="variable MY_PASSWORD is not set"):
        Secret.from_environment("MY_PASSWORD")
    for name, content in (("empty", b""), ("blank", b"\nsecond"), ("binary", b"\xff\xfe"), ("large", b"x" * 20000)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"^{name}: holds no password") as caught:
            Secret.from_file(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(InputError, match=r"^gone: the password cannot be read \(No such file"):
        Secret.from_file(tmp_path / "gone")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"calling_ae": ""}, "calling AE title"),
        ({"calling_ae": "x" * 17}, "1 to 16"),
        ({"timeout_s": 0.0}, "seconds above 0"),
        ({"timeout_s": float("nan")}, "seconds above 0"),
        ({"token": Secret("a"), "user": "b"}, "not both"),
        ({"password": Secret("a")}, "without its user"),
    ],
)
def test_an_access_that_cannot_be_right_is_refused(wrong, told):
    with pytest.raises(InputError, match=told):
        Access(**wrong)


def test_certificates_that_are_not_there_are_told_before_anybody_is_asked(tmp_path):
    with pytest.raises(InputError, match=r"ca: there is no file gone\.pem"):
        Access(ca=tmp_path / "gone.pem")
    (tmp_path / "key.pem").write_text("")
    with pytest.raises(InputError, match="without its certificate"):
        Access(key=tmp_path / "key.pem")
