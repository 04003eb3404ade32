"""A Bundle is posted to a FHIR server, in one transaction: all of it is taken, or nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from cfcam import json_text
from cfcam.errors import CfcamError, InputError, one_line

TOKEN_VARIABLE = "CFCAM_FHIR_TOKEN"  # noqa: S105 (its name)
"""The environment variable that may hold the server's bearer token, which no argument and no message ever has."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_KIND = "application/fhir+json"
_LARGEST = 64 * 2**20
_R4 = ("4.0", "4.3")
_VERSION_S = 10.0


class ServerError(CfcamError, OSError):
    """A FHIR server cannot be reached, or does not take a Bundle.

    Attributes:
        status: of HTTP; None: no answer came, or one that is none.
        again: whether it may take the same Bundle later.
    """

    def __init__(self, message: str, *, status: int | None = None, again: bool = False) -> None:
        super().__init__(message)
        self.status, self.again = status, again


@dataclass(frozen=True)
class Answer:
    """What a server made of a transaction.

    Attributes:
        created: resources that are new there.
        kept: resources that were there already, or took the place of an earlier one.
        locations: of each entry, where it is now, relative to the server; "" where the server does not say.
    """

    created: int
    kept: int
    locations: tuple[str, ...]


class _NoRedirects(HTTPRedirectHandler):
    """A token goes to the server that was named, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


def check_url(url: str, what: str = "--post") -> str:
    """Returns the base of a server, without a slash at its end.

    Args:
        url: of the base.
        what: names the option or key that it is given by.

    Raises:
        InputError: it is no URL, holds a password, or is neither encrypted nor on this machine.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{what} takes the base URL of a FHIR server, such as https://fhir.example/r4")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        how = f"give a token in {TOKEN_VARIABLE}" if what == "--post" else "give a token by token_env or token_file"
        raise InputError(f"{what} takes a URL without user, password or query: {how}")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise InputError(f"{parts.hostname}: http is not encrypted, and is for this machine alone: give an https URL")
    return url.rstrip("/")


def token_of(file: Path | None) -> str | None:
    """Returns the bearer token from a file, or from the environment; None without either.

    Raises:
        InputError: the file cannot be read, or holds no token.
    """
    if file is None:
        found = os.environ.get(TOKEN_VARIABLE, "").strip()
    else:
        try:
            found = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("--token-file: cannot be read; check the path and who may read it") from error
        if not found:
            raise InputError("--token-file: holds no token")
    if found and (not found.isascii() or not found.isprintable() or " " in found):
        raise InputError("the token has characters that no HTTP header takes")
    return found or None


def post(data: bytes, url: str, *, token: str | None = None, timeout_s: float = 60.0) -> Answer:
    """Posts a Bundle.

    Args:
        data: its bytes.
        url: base of the server.
        token: for its Authorization header.
        timeout_s: seconds that the server may be silent.

    Raises:
        ServerError: it cannot be reached, speaks another version of FHIR, refuses, or answers with something else.
    """
    base = check_url(url)
    host = urlsplit(base).netloc
    headers = {"Accept": _KIND}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    ways = [_NoRedirects(), *([ProxyHandler({})] if urlsplit(base).hostname in _LOOPBACK else [])]
    opener = build_opener(*ways)
    _require_r4(opener, base, headers, min(timeout_s, _VERSION_S))
    request = Request(base, data, headers | {"Content-Type": f"{_KIND}; charset=utf-8"}, method="POST")  # noqa: S310 (http and https alone)
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            body = answer.read(_LARGEST + 1)
    except HTTPError as error:
        told = f"{host}: refuses the Bundle with {error.code}{_said(error)}{_next(error.code)}"
        raise ServerError(told, status=error.code, again=_passes(error.code)) from None
    except (URLError, OSError, HTTPException, UnicodeError) as error:  # the last: of a name that no machine can have
        reason = getattr(error, "reason", error)
        raise ServerError(
            f"{host}: cannot be reached ({one_line(reason, 80)}); check the URL, then post again", again=True
        ) from None
    return _read(body, host)


def _require_r4(opener: OpenerDirector, base: str, headers: Mapping[str, str], timeout_s: float) -> None:
    """Refuses a server that says that it speaks another version; one that says nothing is taken at its URL.

    Servers may pass over what their version does not have: of R4's elements R5 lacks DiagnosticReport.imagingStudy and
    DocumentReference.masterIdentifier, and what leads to the pictures would be gone without a word.
    """
    asked = Request(f"{base}/metadata?_summary=true", headers=dict(headers))  # noqa: S310 (http and https alone)
    try:
        with opener.open(asked, timeout=timeout_s) as answer:
            said = json_text.parse(answer.read(_LARGEST + 1), "the answer", largest=_LARGEST)
    except (ValueError, OSError, HTTPException):
        return
    version = said.get("fhirVersion") if isinstance(said, Mapping) else None
    if isinstance(version, str) and not version.startswith(_R4):
        told = f"speaks FHIR {one_line(version, 20)}, and the Bundle is R4: give the base URL of an R4 endpoint"
        raise ServerError(f"{urlsplit(base).netloc}: {told}")


def _read(body: bytes, host: str) -> Answer:
    try:
        found = json_text.parse(body, "the answer", largest=_LARGEST)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("type") != "transaction-response":
        raise ServerError(f"{host}: answers with no transaction-response: is this the base URL of a FHIR server?")
    answers = [one.get("response") or {} for one in found.get("entry") or []]
    statuses = [str(one.get("status") or "")[:3] for one in answers]
    bad = next((status for status in statuses if not status.startswith("2")), None)
    if bad is not None:
        raise ServerError(f"{host}: says {bad or 'nothing'} of an entry of the transaction: nothing can be relied on")
    counts = Counter(status == "201" for status in statuses)
    return Answer(counts[True], counts[False], tuple(str(one.get("location") or "") for one in answers))


def _said(error: HTTPError) -> str:
    """The kind of the first issue of an OperationOutcome: its texts may repeat what was sent."""
    try:
        outcome = json_text.parse(error.read(2**20), "the answer")
        issue: Mapping[str, Any] = outcome["issue"][0]
        code, where = str(issue.get("code") or ""), (issue.get("expression") or [""])[0]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, HTTPException):
        return ""
    told = ", ".join(filter(None, (one_line(code, 40), one_line(where, 80))))
    return f" ({told})" if told else ""


def _passes(code: int) -> bool:
    """Whether a status passes by itself: the server is busy or down, or somebody else wrote the same at the moment."""
    return code in (408, 409, 425, 429) or code >= 500


def _next(code: int) -> str:
    if code in (401, 403):
        return f": give a token in {TOKEN_VARIABLE}, or --token-file"
    if _passes(code):
        return ": post again later"
    return ": see its log"
