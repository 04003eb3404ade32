"""No address is shown with what opens a door: user, password, query and fragment go."""

import pytest

from cfcam.clinical.audit.database import check_place, problem_of
from cfcam.clinical.audit.fields import AuditError
from cfcam.errors import InputError
from cfcam.exchange.pacs.place import Place
from cfcam.urls import shown_url

SECRET = "PLANTEDPASSWORD"  # noqa: S105


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgresql://u:{SECRET}@host:5432/base", "postgresql://host:5432/base"),
        (f"postgresql://host/base?user=u&password={SECRET}", "postgresql://host/base"),
        (f"https://host/r4#{SECRET}", "https://host/r4"),
        (f"https://u:{SECRET}@x@host/r4", "https://host/r4"),
        (f"cannot reach 'https://u:{SECRET}@host/a?b={SECRET}' now", "cannot reach 'https://host/a' now"),
        (f"postgresql:/u:{SECRET}@host/base", "postgresql:/…@host/base"),
        (f"invalid dsn: host=h password={SECRET} user=u", "invalid dsn: host=h password=… user=u"),
        ("audit.sqlite", "audit.sqlite"),
        ("dicom://PACS@host:104", "dicom://host:104"),
    ],
)
def test_an_address_is_shown_without_what_opens_a_door(text, shown):
    assert shown_url(text) == shown


def test_a_password_in_the_query_of_a_database_is_in_no_message_of_the_audit():
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from cfcam.clinical.audit import audit

    where = f"postgresql://host.invalid:1/base?password={SECRET}"
    url = check_place(where)
    assert audit.shown(url) == "postgresql+psycopg://host.invalid:1/base"
    said = sqlalchemy.exc.ArgumentError(f"cannot use {where} with password={SECRET}")
    assert SECRET not in str(problem_of(said, audit.shown(url)))
    with pytest.raises(AuditError) as error:
        check_place(f"postgresql:/u:{SECRET}@host/base")
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "text", ["https://host/dicom-web?token={}", "https://host/#{}", "dicom:/u:{}@host", "https://ho st/?{}"]
)
def test_an_address_of_an_archive_that_is_refused_is_told_without_its_query(text):
    with pytest.raises(InputError) as error:
        Place.parse(text.format(SECRET))
    assert SECRET not in str(error.value)
