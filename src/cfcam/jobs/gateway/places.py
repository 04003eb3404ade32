"""Where a gateway keeps, takes and sends objects, as its file says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cfcam.errors import InputError
from cfcam.exchange.fhir.server import check_url
from cfcam.exchange.pacs.place import Place, check_title


@dataclass(frozen=True)
class Spool:
    """Where objects lie until their results are delivered.

    Attributes:
        folder: of objects, results and the index; made, for this user alone, if it is missing.
        keep_days: after which objects and results of what is done are removed; what failed stays.
        most_waiting: objects that wait, beyond which a sender is told to try again later (0xA700).
        least_free_mb: of the disk, below which a sender is told the same.
    """

    folder: Path
    keep_days: float = 1.0
    most_waiting: int = 20000
    least_free_mb: int = 1024

    def __post_init__(self) -> None:
        check_positive(keep_days=self.keep_days, most_waiting=self.most_waiting)
        if self.least_free_mb < 0:
            raise InputError(f"least_free_mb is {self.least_free_mb}: give 0 or more")


@dataclass(frozen=True)
class Receive:
    """DICOM in by C-STORE.

    Attributes:
        calling: AE titles that may send; each other one is refused.
        ae_title: of the gateway; who calls it by another one is refused.
        host: address to listen on; "0.0.0.0" means every machine that reaches this one.
        port: it listens on.
        most_associations: open at once; the one that was silent longest makes room for a new one.
        silence_s: seconds after which a silent association is ended.
        most_object_mb: of one object; a larger one is refused, and its association ended.
        certificate: PEM file of the gateway; with it TLS is spoken, and nothing else.
        key: PEM file of its private key; where it is missing, it stands in the certificate's.
        ca: PEM file of who vouches for senders; with it each must show a certificate.
    """

    calling: tuple[str, ...]
    ae_title: str = "CFCAM"
    host: str = "127.0.0.1"
    port: int = 11112
    most_associations: int = 256
    silence_s: float = 300.0
    most_object_mb: int = 2048
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    def __post_init__(self) -> None:
        for title in (self.ae_title, *self.calling):
            check_title(title, "an AE title")
        if not self.calling:
            raise InputError("calling is empty: name the AE titles that may send")
        if not 0 <= self.port < 65536:
            raise InputError(f"port is {self.port}: give 1 to 65535")
        check_positive(
            most_associations=self.most_associations, silence_s=self.silence_s, most_object_mb=self.most_object_mb
        )
        if self.certificate is None and (self.key or self.ca):
            raise InputError("key and ca are for TLS: name the certificate too")


@dataclass(frozen=True)
class Access:
    """A place in the network, and what opens its door.

    Attributes:
        place: dicom://CALLED@host:port, dicoms://… (TLS), or http(s)://host:port/dicom-web.
        calling_ae: one's own AE title.
        user: for HTTP's basic authentication, or a DICOM user identity.
        password_env: environment variable that holds the password.
        password_file: file whose first line is the password.
        token_env: environment variable that holds a bearer token.
        token_file: file whose first line is a bearer token.
        ca: PEM file of who may vouch for the place, in place of the system's.
        certificate: PEM file of one's own certificate.
        key: PEM file of its private key.
        timeout_s: seconds after which a silent place has failed.
    """

    place: str
    calling_ae: str = "CFCAM"
    user: str | None = None
    password_env: str | None = None
    password_file: Path | None = None
    token_env: str | None = None
    token_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        place = Place.parse(self.place)
        check_positive(timeout_s=self.timeout_s)
        if place.is_web and self.user is not None and self.password_env is None and self.password_file is None:
            raise InputError("user is given without a password: name its password_env or password_file too")


@dataclass(frozen=True, kw_only=True)
class Tries:
    """How often something is tried.

    Attributes:
        most_tries: after which a result that does not get through is put aside, for ``cfcam gateway retry``.
        wait_s: seconds before the second try; each further wait is twice as long.
        longest_wait_s: seconds that no wait exceeds.
    """

    most_tries: int = 50
    wait_s: float = 5.0
    longest_wait_s: float = 600.0

    def __post_init__(self) -> None:
        check_positive(most_tries=self.most_tries, wait_s=self.wait_s, longest_wait_s=self.longest_wait_s)


@dataclass(frozen=True)
class Send(Tries, Access):
    """Results out."""

    def __post_init__(self) -> None:
        Access.__post_init__(self)
        Tries.__post_init__(self)


@dataclass(frozen=True)
class FhirServer:
    """A FHIR server, and what opens its door.

    Attributes:
        url: base of the server, such as https://fhir.example/r4; http is for this machine alone.
        token_env: environment variable that holds a bearer token.
        token_file: file whose first line is a bearer token.
        timeout_s: seconds after which a silent server has failed.
    """

    url: str
    token_env: str | None = None
    token_file: Path | None = None
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        check_url(self.url, "url")
        check_positive(timeout_s=self.timeout_s)


@dataclass(frozen=True)
class Fhir(Tries, FhirServer):
    """A FHIR server that takes each study's Bundle, once the archive has its objects."""

    def __post_init__(self) -> None:
        FhirServer.__post_init__(self)
        Tries.__post_init__(self)


@dataclass(frozen=True)
class Watch:
    """DICOM in from a folder: what lies there and rests is taken, and leaves the folder.

    Attributes:
        folder: to look into, with its sub-folders.
        every_s: seconds between two looks.
        settle_s: seconds for which a file must not have changed; a name that ends in .tmp or .part is passed over.
    """

    folder: Path
    every_s: float = 2.0
    settle_s: float = 2.0

    def __post_init__(self) -> None:
        check_positive(every_s=self.every_s)


@dataclass(frozen=True)
class Poll(Access):
    """DICOM in by asking a DICOMweb server.

    Attributes:
        every_s: seconds between two questions.
        modalities: that are asked for.
        days: of studies so many days back, today counted.
    """

    every_s: float = 60.0
    modalities: tuple[str, ...] = ("CR", "DX")
    days: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(every_s=self.every_s, days=self.days)


@dataclass(frozen=True)
class Prior(Access):
    """Where the last study of the patient before this one is asked for, and compared with it.

    Attributes:
        days: back that it is looked for.
    """

    days: int = 1825

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(days=self.days)


@dataclass(frozen=True)
class Health:
    """Answers to /healthz and /metrics.

    Attributes:
        host: address to listen on.
        port: it listens on.
    """

    host: str = "127.0.0.1"
    port: int = 9112


def check_positive(**values: float) -> None:
    """Raise an `InputError` unless all numbers are above 0."""
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{name} is {value:g}: give a number above 0")
