"""What an audit record may say: the actions with their DICOM codes, and the fields; none says who a patient is."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from cfcam.errors import CfcamError


class AuditError(CfcamError, ValueError):
    """An audit cannot be opened or read, or a record may not be written."""


class DamagedError(AuditError):
    """The database's file is damaged, so that a record cannot even be fetched."""


class AwayError(AuditError):
    """The database's server is not there at the moment: it starts, stops, or the connection to it was lost."""


class MovedError(AuditError):
    """Another record was written since the one that was to be the last."""


class Code(NamedTuple):
    """A code of the scheme DCM (DICOM PS3.16 Annex D)."""

    value: str
    meaning: str


@dataclass(frozen=True)
class Event:
    """The EventIdentification of a DICOM audit message (PS3.15 A.5.2).

    Attributes:
        id: EventID, from CID 400.
        action_code: EventActionCode: C create, R read, U update, D delete, E execute.
        type: EventTypeCode, from CID 401, where the event has one.
    """

    id: Code
    action_code: str
    type: Code | None = None


class Action(StrEnum):
    """What was done, as cfcam calls it."""

    START = "start"
    STOP = "stop"
    IMPORT = "import"
    READ = "read"
    RECEIVE = "receive"
    SEND = "send"
    QUERY = "query"
    EXPLAIN = "explain"
    MEASURE = "measure"
    CHECK = "check"
    COMPARE = "compare"
    DEIDENTIFY = "deidentify"
    WRITE = "write"
    REPORT = "report"
    REVIEW = "review"
    RELEASE = "release"
    EXPORT = "export"
    DELETE = "delete"
    LOGIN = "login"
    LOGOUT = "logout"
    ALERT = "alert"
    AUDIT_USED = "audit-used"


_ACTIVITY = Code("110100", "Application Activity")
_ACCESSED = Code("110103", "DICOM Instances Accessed")
_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
_EXPORT = Code("110106", "Export")
_AUTHENTICATION = Code("110114", "User Authentication")

EVENTS: Mapping[Action, Event] = {
    Action.START: Event(_ACTIVITY, "E", Code("110120", "Application Start")),
    Action.STOP: Event(_ACTIVITY, "E", Code("110121", "Application Stop")),
    Action.IMPORT: Event(Code("110107", "Import"), "C"),
    Action.READ: Event(_ACCESSED, "R"),
    Action.RECEIVE: Event(_TRANSFERRED, "C"),
    Action.SEND: Event(_TRANSFERRED, "R"),
    Action.QUERY: Event(Code("110112", "Query"), "E"),
    Action.EXPLAIN: Event(_ACCESSED, "R"),
    Action.MEASURE: Event(_ACCESSED, "R"),
    Action.CHECK: Event(_ACCESSED, "R"),
    Action.COMPARE: Event(_ACCESSED, "R"),
    Action.DEIDENTIFY: Event(_ACCESSED, "C"),
    Action.WRITE: Event(_ACCESSED, "C"),
    Action.REPORT: Event(_ACCESSED, "C"),
    Action.REVIEW: Event(_ACCESSED, "U"),
    Action.RELEASE: Event(_EXPORT, "R"),
    Action.EXPORT: Event(_EXPORT, "R"),
    Action.DELETE: Event(Code("110105", "DICOM Study Deleted"), "D"),
    Action.LOGIN: Event(_AUTHENTICATION, "E", Code("110122", "Login")),
    Action.LOGOUT: Event(_AUTHENTICATION, "E", Code("110123", "Logout")),
    Action.ALERT: Event(Code("110113", "Security Alert"), "E"),
    Action.AUDIT_USED: Event(Code("110101", "Audit Log Used"), "R"),
}
"""The DICOM audit event of each action; using images, also by a network, is "DICOM Instances Accessed" (A.5.3.6)."""

OUTCOMES: Mapping[str, int] = {"success": 0, "minor-failure": 4, "serious-failure": 8, "major-failure": 12}
"""The EventOutcomeIndicator (PS3.15 A.5.2) of each value of the field ``outcome``."""


@dataclass(frozen=True)
class Field:
    """A field of the details.

    Attributes:
        what: what it holds, in words.
        accepts: whether a value is of that kind.
    """

    what: str
    accepts: Callable[[Any], bool]


def _text(pattern: str) -> Callable[[Any], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _several(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: accepts(value) or (isinstance(value, list | tuple) and all(map(accepts, value)))


def _named(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(_is_name(k) and accepts(v) for k, v in value.items())


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_integer(value) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_probability(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _one_of(*choices: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in choices


_is_name = _text(r"[a-z0-9][a-z0-9+._-]{0,39}")
is_digest = _text(r"[0-9a-f]{64}")
_is_version = _text(r"v?[0-9]+[A-Za-z0-9.+-]{0,39}")

LONGEST_COMMENT = 2000
"""Characters that a comment may have; a record is for good, and so is every word of it."""

_JOINERS = "\u200c\u200d"  # format characters that the letters of Persian and of Indic scripts need


def _is_written(value: Any, longest: int, *, lines: bool = False) -> bool:
    """Whether a text is what somebody wrote: characters that can be seen, not those that hide or turn others."""
    if not isinstance(value, str) or not value.strip() or value != value.strip() or len(value) > longest:
        return False
    # C: controls, formats (which turn the direction of a line), surrogates, unassigned; Zl and Zp: separators of lines
    return all(
        not (unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp"))
        or c in _JOINERS
        or (lines and c == "\n")
        for c in value
    )


def _is_comment(value: Any) -> bool:
    return _is_written(value, LONGEST_COMMENT, lines=True)


def _is_person(value: Any) -> bool:
    """A name as DICOM takes one (PS3.5 6.2, PN: 64 characters, no backslash, ^ and = part it)."""
    return _is_written(value, 64) and not set(value) & set("\\^=")


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _numbers(fewest: int, most: int) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list | tuple) and fewest <= len(value) <= most and all(map(_is_number, value))
    )


def _structure(fields: Mapping[str, Callable[[Any], bool]]) -> Callable[[Any], bool]:
    """Plain values by names of a list; None where something is left to the program."""
    return lambda value: (
        isinstance(value, Mapping)
        and all(name in fields and (one is None or fields[name](one)) for name, one in value.items())
    )


_is_word = _text(r"[A-Za-z0-9_.-]{1,40}")
_is_study = _text(r"s-[0-9a-f]{12}")
_is_map = _text(r"m-[0-9a-f]{12}")

VIEW: Mapping[str, Callable[[Any], bool]] = {
    "opacity": _is_probability,
    "threshold": _is_probability,
    "fade": _is_flag,
    "outline": _is_flag,
    "palette": _is_word,
    "blend": _one_of("value", "uniform", "contour"),
    "window": _numbers(2, 2),
    "scale": _one_of("own", "common"),
    "plane": _one_of("axial", "coronal", "sagittal", "all", "mip", "3d"),
    "channel": _is_count,
    "cursor": _numbers(2, 3),
    "zoom": _is_number,
    "pan": _numbers(2, 3),
    "original": _is_flag,
    "compare": _is_study,
    "maps": _several(_is_map),
}
"""How a map was shown when somebody answered: the field ``view``."""

_POINTS = 1000


def _is_outline(value: Any) -> bool:
    pair = _numbers(2, 2)
    return isinstance(value, list | tuple) and 3 <= len(value) <= _POINTS and all(map(pair, value))


AMENDED: Mapping[str, Callable[[Any], bool]] = {
    "class_index": _is_count,
    "threshold": _is_probability,
    "peak": _several(_is_count),
    "plane": _one_of("axial", "coronal", "sagittal"),
    "slice": _is_count,
    "polygon": _is_outline,
}
"""What a reader puts in the place of what a map says: the field ``amended``."""

_DIGESTS = "the SHA-256 of each, 64 lower-case hexadecimal digits"
_NAMES = "short lower-case names like grad-cam++"

FIELDS: Mapping[str, Field] = {
    "pseudonym": Field(
        "a keyed pseudonym: that of cfcam deidentify (P- and 16 characters A-Z, 2-7), or 16 to 64 hexadecimal digits",
        _text(r"P-[A-Z2-7]{16}|(?:P-)?[0-9a-fA-F]{16,64}"),
    ),
    "data_sha256": Field(_DIGESTS, _several(is_digest)),
    "prior_sha256": Field(_DIGESTS, _several(is_digest)),
    "mask_sha256": Field(_DIGESTS, _several(is_digest)),
    "object_sha256": Field(_DIGESTS, _several(is_digest)),
    "report_sha256": Field(_DIGESTS, _several(is_digest)),
    "comment_sha256": Field(_DIGESTS, _several(is_digest)),
    "model_sha256": Field(_DIGESTS, _several(is_digest)),
    "settings_sha256": Field(_DIGESTS, _several(is_digest)),
    "object_uids": Field("UIDs that cfcam made, beginning with 2.25.", _several(_text(r"2\.25\.[0-9]{1,39}"))),
    "modality": Field("two to eight capital letters like CT", _text(r"[A-Z]{2,8}")),
    "method": Field(_NAMES, _several(_is_name)),
    "layer": Field("a module's dotted name", _text(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")),
    "target": Field("class indices", _several(_is_integer)),
    "probability": Field("numbers from 0 to 1", _several(_is_probability)),
    "measures": Field("finite numbers by short lower-case names", _named(_is_number)),
    "checks": Field("pass, flag or not-assessed by check", _named(_one_of("pass", "flag", "not-assessed"))),
    "formats": Field(_NAMES, _several(_is_name)),
    "count": Field("a number of things, 0 or more", _is_count),
    "seed": Field("an integer", _is_integer),
    "version": Field("a version like 0.3.1", _is_version),
    "versions": Field("versions by library", _named(_is_version)),
    "device": Field("a short lower-case name like cuda:0", _text(r"[a-z]+(?::[0-9]+)?")),
    "outcome": Field("success, minor-failure, serious-failure or major-failure", _one_of(*OUTCOMES)),
    "error": Field("the name of an error's class", _text(r"[A-Za-z_][A-Za-z0-9_]{0,79}")),
    "reason": Field("one short lower-case name like another-model", _is_name),
    "decision": Field("accept, reject, amend or comment", _one_of("accept", "reject", "amend", "comment")),
    "reviewer": Field("the name of whoever reads, 1 to 64 characters in one line, without \\, ^ and =", _is_person),
    "comment": Field(f"a reader's own words, 1 to {LONGEST_COMMENT} characters, no control characters", _is_comment),
    "study": Field("the id of a study in the viewer, like s-9f86d081884c", _is_study),
    "map": Field("the id of a map in the viewer, like m-9f86d081884c", _is_map),
    "map_sha256": Field("the SHA-256 of the values of one map", is_digest),
    "view": Field(f"how a map was shown: some of {', '.join(VIEW)}", _structure(VIEW)),
    "amended": Field(f"what a reader puts in its place: some of {', '.join(AMENDED)}", _structure(AMENDED)),
    "user": Field("the account of a member of staff, without spaces", _text(r"[A-Za-z0-9._@-]{1,64}")),
    "station": Field("an AE title or a host, without spaces", _text(r"[A-Za-z0-9._:-]{1,64}")),
    "destination": Field("an AE title or a host, without spaces", _text(r"[A-Za-z0-9._:-]{1,64}")),
    "refers_to": Field("the id of an earlier record, like 17-9f86d081884c", _text(r"[1-9][0-9]*-[0-9a-f]{12}")),
}
"""The allow-list. Free text is in two fields only, which a reader fills in by hand: ``reviewer`` and ``comment``.

Of a file or a source UID a record holds the SHA-256, and so it does of a comment that is kept elsewhere
(``comment_sha256``).
"""


def checked_action(action: Action | str) -> Action:
    """Returns the action of a name.

    Raises:
        AuditError: there is none of this name.
    """
    try:
        return Action(action)
    except ValueError:
        shown = repr(action) if _is_name(action) else "as given"
        raise AuditError(f"audit action {shown} is unknown: one of {', '.join(Action)}") from None


def checked_details(details: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the details, if every field is on the allow-list and holds what it is for.

    Raises:
        AuditError: a field may not be recorded. The message holds no value, which might be an identity.
    """
    for name, value in details.items():
        field = FIELDS.get(name)
        if field is None:
            shown = repr(name) if _text("[a-z][a-z0-9_]{0,39}")(name) else "(its name is not shown)"
            raise AuditError(f"audit field {shown} might hold an identity: only {', '.join(FIELDS)} are recorded")
        if not field.accepts(value):
            raise AuditError(f"audit field {name!r}: its value is not shown here and not recorded; give {field.what}")
    return dict(details)
