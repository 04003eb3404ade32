"""What is asked for of a study: checked before anything is read, and without secrets in any text."""

from __future__ import annotations

import json

import pytest

from cfcam.errors import InputError
from cfcam.jobs.study.settings import StudySettings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dicom": ("xml",)}, "kinds are xml"),
        ({"report": ("docx",)}, "report 'docx'"),
        ({"uncertainty": ("luck",)}, "uncertainty 'luck'"),
        ({"samples": 1}, "samples is 1"),
        ({"threshold": "quantile:2"}, "quantile lies between 0 and 1"),
        ({"threshold": "0"}, "threshold '0'"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_read(settings, words):
    with pytest.raises(InputError, match=words):
        StudySettings(**settings).check()


def test_where_the_audit_is_kept_is_in_no_text_of_the_settings():
    settings = StudySettings(record="postgresql://user:secret@host/audit")
    assert "secret" not in repr(settings) + json.dumps(settings.drawn())
