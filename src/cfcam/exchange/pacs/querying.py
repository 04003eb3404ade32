"""What a place has: C-FIND (PS3.4 C.4.1) or QIDO-RS (PS3.18 10.6), with answers that are checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cfcam import json_text
from cfcam.exchange.pacs.association import Context, associated
from cfcam.exchange.pacs.http import Web
from cfcam.exchange.pacs.matching import RETURNED, UNIQUE, Keys, check_keys, fitting
from cfcam.exchange.pacs.outcome import NetworkError
from cfcam.exchange.pacs.place import Access, Place

if TYPE_CHECKING:
    from pydicom import Dataset

MOST = 20_000
"""Answers that one query may have; who gets more has not said what is wanted."""

_FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve Information Model - FIND
_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_RESOURCES = {"study": "studies", "series": "series", "image": "instances"}
_PAGE = 1000
_LONGEST_PAGE = 256 << 20
_PENDING = (0xFF00, 0xFF01)
# Orthanc 1.10 decodes nothing in a query: with an encoded `*`, `^`, blank or umlaut it says that there is no study.
_ENCODED = re.compile(r"[^\w*?,.:~@!$'()-]+", re.ASCII)


def query(place: Place, level: str, keys: Keys, access: Access | None = None) -> list[Dataset]:
    """Ask a DICOM node or a DICOMweb server what it has.

    Args:
        place: whom to ask.
        level: "study", "series" or "image".
        keys: what is searched for, by keywords; a value may be a sequence of UIDs. Below the level of studies give
            ``StudyInstanceUID``, and for images ``SeriesInstanceUID``, as DICOM nodes want it.
        access: who one is, and what opens the door.

    Returns:
        The answers, with the elements in `cfcam.exchange.pacs.matching.RETURNED` as far as the place has them. No
        answer is not the same as no permission, which is an error.

    Raises:
        InputError: the level, a keyword or a value is none.
        NetworkError: the place cannot be reached, does not answer queries, not those of one's AE title, not by one of
            the keys, or has more than `MOST` answers.
        MissingExtraError: pynetdicom or requests is not installed.
    """
    given, access = check_keys(level, keys), access or Access()
    answers = (_qido if place.is_web else _c_find)(place, level, given, access)
    found: list[Dataset] = []
    for answer in answers:
        found.append(answer)
        if len(found) > MOST:
            raise NetworkError(f"{place}: has more than {MOST} answers: say more of what is wanted", again=False)
    return fitting(found, given, place)


def _c_find(place: Place, level: str, keys: Mapping[str, str], access: Access) -> Iterator[Dataset]:
    from pydicom import Dataset

    identifier = Dataset()
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = level.upper()
    for keyword in (*RETURNED[level], *keys):
        setattr(
            identifier,
            keyword,
            keys.get(keyword, "").split("\\") if "\\" in keys.get(keyword, "") else keys.get(keyword, ""),
        )
    with associated(place, access, [Context(_FIND, _SYNTAXES)]) as opened:
        for status, answer in opened.send_c_find(identifier, _FIND):
            code = status.get("Status")
            if code in _PENDING:
                if answer is None:
                    raise NetworkError(f"{place}: gives an answer that cannot be read", again=False)
                yield answer
            elif code is None and not opened.is_established:
                raise NetworkError(f"{place}: broke the connection before it had answered", again=True)
            elif code is None:
                # As Orthanc does for a title that it does not know, after it has let it in.
                told = f"ends without an answer, not even that it has nothing: may {access.calling_ae} ask it?"
                raise NetworkError(f"{place}: {told}", again=False)
            elif code != 0:
                raise NetworkError(f"{place}: does not answer the query (0x{code:04X})", again=code >> 8 == 0xA7)


def _qido(place: Place, level: str, keys: Mapping[str, str], access: Access) -> Iterator[Dataset]:
    from pydicom import Dataset

    path, rest = _resource(level, keys)
    asked = [f"{keyword}={_value(value)}" for keyword, value in rest.items()]
    asked += [f"includefield={keyword}" for keyword in dict.fromkeys((*RETURNED[level], *keys))]
    seen: set[str] = set()
    with Web(place, access) as web:
        while True:
            page = f"{path}?{'&'.join([*asked, f'limit={_PAGE}', f'offset={len(seen)}'])}"
            answers = [Dataset.from_json(one) for one in _page(web, page)]
            fresh = [one for one in answers if str(one.get(UNIQUE[level], "")) not in seen]
            seen |= {str(one.get(UNIQUE[level], "")) for one in fresh}
            yield from fresh
            # A server may give fewer than asked for at a time; one that takes no offset repeats itself.
            if not fresh:
                return


def _resource(level: str, keys: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The path below the service, and the keys that do not stand in it."""
    path, rest = "", dict(keys)
    for above, name in (("study", "studies"), ("series", "series")):
        uid = rest.get(UNIQUE[above], "")
        if level == above or not uid or "\\" in uid:
            break
        path += f"/{name}/{quote(rest.pop(UNIQUE[above]), safe='')}"
    return f"{path}/{_RESOURCES[level]}", rest


def _value(value: str) -> str:
    """A value as it stands in an address, with ``*`` for all that would be encoded: answers are checked in any case."""
    return _ENCODED.sub("*", value.replace("\\", ","))


def _page(web: Web, path: str) -> list[dict[str, Any]]:
    headers = {"Accept": "application/dicom+json", "Accept-Encoding": "identity"}
    with web.ask("GET", path, headers=headers) as answer:
        if answer.status_code == 204:
            return []
        said = web.read(answer, _LONGEST_PAGE)
    try:
        values = json_text.parse(said, "the answer") if said.strip() else []
        if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
            raise ValueError
    except ValueError:
        told = "gives an answer that is no DICOM JSON: is it the address of a DICOMweb service?"
        raise NetworkError(f"{web.place}: {told}", again=False) from None
    return values
