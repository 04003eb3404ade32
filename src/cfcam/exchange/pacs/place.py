"""Where objects are sent and fetched: a place as one word, and what opens its door."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cfcam.errors import InputError
from cfcam.urls import shown_url

DICOM = ("dicom", "dicoms")
WEB = ("http", "https")
_PORTS = {"dicom": 104, "dicoms": 2762, "http": 80, "https": 443}  # the last but one: PS3.15 B.1
_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_HOST = re.compile(r"[\w.-]+|\[[0-9a-fA-F:.]+\]")
_PATH = re.compile(r"(?:/[\w.~!$&'()*+,;=:@%-]+)*/?")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LONGEST_SECRET = 16384
FORMS = "dicom://CALLED@host:port or https://host/dicom-web"


@dataclass(frozen=True)
class Place:
    """A DICOM node or a DICOMweb server.

    Attributes:
        scheme: "dicom", "dicoms" (DICOM over TLS), "http" or "https".
        host: name or address; an IPv6 address without brackets.
        port: of it.
        called_ae: the AE title of the node; empty for DICOMweb.
        path: of the DICOMweb service, without a slash at its end; empty for DICOM.
    """

    scheme: str
    host: str
    port: int
    called_ae: str = ""
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Place:
        """Reads ``dicom://CALLED@host:port``, ``dicoms://…``, or ``http(s)://host:port/dicom-web``.

        Raises:
            InputError: it is none of these, or holds a password, which is not repeated.
        """
        scheme, _, rest = text.strip().partition("://")
        scheme = scheme.lower()
        if scheme not in (*DICOM, *WEB) or not rest:
            raise InputError(f"no place is called {shown_url(text)!r}: give {FORMS}")
        user, at, _ = rest.partition("/")[0].rpartition("@")
        if ":" in user or (at and scheme in WEB):
            raise InputError(
                f"{scheme}://…: a user or a password does not belong into an address, where others see it:"
                " name the user with --user, and the password's file or variable with --password-file, --password-env"
            )
        told = re.split(r"[?#]", text)[0]
        told = shown_url(told) if scheme in WEB else told  # an AE title is no user
        try:
            parts = urlsplit(f"{scheme}://{rest.removeprefix(f'{user}@')}")
            host, port = parts.hostname or "", parts.port or _PORTS[scheme]
        except ValueError:
            raise InputError(f"{told!r}: has no host and port that can be read: give {FORMS}") from None
        if not _HOST.fullmatch(f"[{host}]" if ":" in host else host):
            raise InputError(f"{told!r}: has no host: give {FORMS}")
        if parts.query or parts.fragment or not _PATH.fullmatch(parts.path):
            raise InputError(f"{told!r}: give the address of the service alone, such as {FORMS}")
        path = parts.path.rstrip("/")
        if scheme in WEB:
            return cls(scheme, host, port, path=path)
        if path:
            raise InputError(f"{told!r}: a DICOM node has no path: give dicom://CALLED@host:port")
        check_title(user, f"{told!r}: the node's AE title")
        return cls(scheme, host, port, called_ae=user)

    @property
    def is_web(self) -> bool:
        """Whether it is spoken to by DICOMweb."""
        return self.scheme in WEB

    @property
    def tls(self) -> bool:
        """Whether what is sent is encrypted, and the certificate of the place is looked at."""
        return self.scheme in ("dicoms", "https")

    @property
    def loopback(self) -> bool:
        """Whether it is this machine."""
        return self.host in _LOOPBACK

    @property
    def url(self) -> str:
        """The address of a DICOMweb service, to which ``/studies`` can be added."""
        return f"{self.scheme}://{self._bracketed}:{self.port}{self.path}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        """The place as `parse` reads it."""
        return self.url if self.is_web else f"{self.scheme}://{self.called_ae}@{self._bracketed}:{self.port}"


def check_title(title: str, what: str) -> None:
    """Raise an `InputError` unless a text is an AE title: 1 to 16 characters (PS3.5 6.2), none a backslash."""
    if not _TITLE.fullmatch(title):
        raise InputError(
            f"{what} is {title!r}: an AE title has 1 to 16 ASCII characters, as in dicom://ARCHIVE@pacs:104"
        )


class Secret:
    """A password or a token. It is nowhere shown: not when printed, not in an error, not in a traceback's values."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def from_environment(cls, name: str) -> Secret:
        """Takes it from an environment variable.

        Raises:
            InputError: the variable is not set, or is empty.
        """
        if not os.environ.get(name):
            raise InputError(f"the environment variable {name} is not set: it should hold the password or token")
        return cls(os.environ[name])

    @classmethod
    def from_file(cls, path: Path) -> Secret:
        """Takes it from a file's first line.

        Raises:
            InputError: the file cannot be read, is empty, or is too large for a password.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_LONGEST_SECRET + 1)
            lines = data.decode("utf-8").splitlines()
        except OSError as error:
            raise InputError(f"{path.name}: the password cannot be read ({error.strerror}): check the file") from None
        except UnicodeDecodeError:
            lines = []
        if not lines or not lines[0] or len(data) > _LONGEST_SECRET:
            raise InputError(f"{path.name}: holds no password or token in its first line")
        return cls(lines[0])

    def reveal(self) -> str:
        """Returns it; what calls this must not keep, show or log it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written anywhere")


@dataclass(frozen=True)
class Access:
    """Who one is, and what opens the door of a place.

    Attributes:
        calling_ae: one's own AE title.
        user: for HTTP's basic authentication, or a DICOM user identity (PS3.7 D.3.3.7).
        password: of the user.
        token: a bearer token for HTTP, in place of a user.
        ca: certificates (PEM) that may vouch for the place, in place of the system's.
        certificate: one's own certificate (PEM), where the place asks for one.
        key: the private key of it; None: it is in the same file.
        timeout_s: seconds after which a silent place has failed.
    """

    calling_ae: str = "CFCAM"
    user: str | None = None
    password: Secret | None = field(default=None, repr=False)
    token: Secret | None = field(default=None, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        check_title(self.calling_ae, "the calling AE title")
        if not 0 < self.timeout_s < 86400:
            raise InputError(f"timeout_s is {self.timeout_s:g}: give seconds above 0, such as 30")
        if self.token is not None and self.user is not None:
            raise InputError("give a token, or a user with a password, not both: a place looks at one of them")
        if self.password is not None and self.user is None:
            raise InputError("a password is given without its user: name the user too")
        if self.key is not None and self.certificate is None:
            raise InputError("a private key is given without its certificate: name the certificate too")
        for name in ("ca", "certificate", "key"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise InputError(f"{name}: there is no file {path.name}; give certificates and keys as PEM files")
