"""A PACS: where it is, and what opens its door. No password is ever an argument, where other users see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from cfcam.cli.arguments import places
from cfcam.cli.command import Checked
from cfcam.cli.options.run import LongRun
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from cfcam.exchange.pacs import Access, Place

PLACE = "dicom://CALLED@host:port, dicoms://… (TLS), or https://host:port/dicom-web."
_LIBRARIES = ("pynetdicom", "requests")


def place(text: str) -> None:
    """Refuses what names no place."""
    from cfcam.exchange.pacs.place import Place

    Place.parse(text)


@dataclass(frozen=True, kw_only=True)
class Door(LongRun):
    """Options of commands that speak to a PACS."""

    panel: ClassVar[Panel | None] = Panel.DOOR

    aet: Annotated[str, typer.Option(metavar="TITLE", help="Your own AE title; the DICOM node has to know it.")] = (
        "CFCAM"
    )
    user: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Your user there, with a password; a DICOM node may take one alone."),
    ] = None
    password_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Environment variable that holds the password.")
    ] = None
    password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File whose first line is the password."),
        Checked(places.file("--password-file")),
    ] = None
    token_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Environment variable that holds a bearer token.")
    ] = None
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File whose first line is a bearer token."),
        Checked(places.file("--token-file")),
    ] = None
    ca: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Who may vouch for the place, where it is not the system's."),
        Checked(places.file("--ca")),
    ] = None
    certificate: Annotated[
        Path | None,
        typer.Option("--cert", metavar="PEM", help="Your own certificate, where the place asks for one."),
        Checked(places.file("--cert")),
    ] = None
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="PEM", help="Its private key, if that is another file."),
        Checked(places.file("--key")),
    ] = None
    timeout: Annotated[
        float, typer.Option(min=0.1, max=86399, metavar="SECONDS", help="How long a silent place is waited for.")
    ] = 30.0

    def __post_init__(self) -> None:
        """Looks for what cannot go together, and for passwords that are not there."""
        super().__post_init__()
        for kind in ("password", "token"):
            if getattr(self, f"{kind}_env") is not None and getattr(self, f"{kind}_file") is not None:
                raise InputError(f"--{kind}-env and --{kind}-file: give one of them")
        self.access()

    def access(self) -> Access:
        """Returns who one is, and what opens the door."""
        from cfcam.exchange.pacs.place import Access, Secret

        secrets = {}
        for kind in ("password", "token"):
            name, file = getattr(self, f"{kind}_env"), getattr(self, f"{kind}_file")
            if name is not None:
                secrets[kind] = Secret.from_environment(name)
            elif file is not None:
                secrets[kind] = Secret.from_file(file)
        return Access(
            calling_ae=self.aet,
            user=self.user,
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
            timeout_s=self.timeout,
            **secrets,
        )

    def reached(self, text: str) -> Place:
        """Returns the place that a text names, and says of one where others can read along that they can.

        Raises:
            InputError: a DICOMweb server is to be told a user without a password.
            MissingExtraError: the libraries that speak to it are not installed.
        """
        from importlib.util import find_spec

        from cfcam.cli.output.console import hint, warn
        from cfcam.exchange.pacs.place import Place
        from cfcam.private import DOORS, exposed

        for library in _LIBRARIES:
            if find_spec(library) is None:
                raise MissingExtraError(library, "pacs", "speaking to a PACS")
        place = Place.parse(text)
        if place.is_web and self.user is not None and self.password_env is None and self.password_file is None:
            raise InputError("--user is given without a password: give it with --password-file or --password-env")
        for file in (self.password_file, self.token_file, self.key or self.certificate):
            if file is not None and (told := exposed(file, DOORS)):
                hint(told)
        if not (place.tls or place.loopback or self.quiet):
            secret = " and the password" if self.user or self.token_env or self.token_file else ""
            warn(f"{place.scheme}:// is not encrypted: on the way to {place.host} others can read the pictures{secret}")
        return place
