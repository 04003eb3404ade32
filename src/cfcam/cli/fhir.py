"""``cfcam fhir``: the result of a study as a FHIR Bundle, written or posted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import places
from cfcam.cli.command import Checked, Command
from cfcam.cli.output.console import EXIT_FAILED, error, hint, out
from cfcam.errors import InputError
from cfcam.shown import counted


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"--time {text!r} is no time: give one like 2026-01-31T08:00+01:00") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _url(text: str) -> str:
    from cfcam.exchange.fhir.server import check_url

    return check_url(text)


@dataclass(frozen=True, kw_only=True)
class Fhir(Command):
    """Write the result of a study as a FHIR R4 transaction Bundle, or post it to a server.

    In it go the numbers, and what lies beside them: the PDF of the report, and the DICOM objects. With an audit, what
    readers said of the maps too. Posting it twice makes nothing new. The patient is known by cfcam's pseudonym alone.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam explain chest.dcm -m net.py:make --report pdf --dicom seg,sr --record audit.sqlite

    cfcam fhir output/study-001_regions.json -a audit.sqlite -o bundle.json

    cfcam fhir output/study-001_regions.json --post https://fhir.example/r4 --token-file token.txt

Research use only: every report in it is preliminary.

Exit codes: 0 written, posted · 1 the server is not reached, or does not take it · 2 wrong usage · 130 interrupted.
"""

    study: Annotated[
        Path,
        typer.Argument(metavar="STUDY", help="NAME_regions.json, as cfcam explain writes it."),
        Checked(places.file("")),
    ]
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", "--out", metavar="FILE", help="Write the Bundle here. [default: stdout]"),
        Checked(places.new_file("--output")),
    ] = None
    post: Annotated[
        str | None,
        typer.Option("--post", metavar="URL", help="Post it to this FHIR server."),
        Checked(_url),
    ] = None
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", metavar="FILE", help="Holds the server's bearer token. [default: CFCAM_FHIR_TOKEN, if set]"
        ),
        Checked(places.file("--token-file")),
    ] = None
    where: Annotated[
        str | None,
        typer.Option(
            "-a", "--audit", metavar="FILE|URL", envvar="CFCAM_AUDIT", help="Take time and readers' answers from here."
        ),
        Checked(places.audit),
    ] = None
    time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When the result was made. [default: as the audit says, else when the file was written]",
        ),
        Checked(_time),
    ] = None
    keep_uids: Annotated[
        bool,
        typer.Option("--keep-uids", help="Name the study by the UID in its DICOM file, so that it is matched."),
    ] = False
    timeout: Annotated[float, typer.Option(min=1, max=3600, metavar="SECONDS", help="How long to wait for it.")] = 60.0

    def __post_init__(self) -> None:
        """Looks whether a token is of any use."""
        super().__post_init__()
        if self.token_file is not None and self.post is None:
            raise InputError("--token-file is for a server: give --post URL")

    def __call__(self) -> None:
        """Makes, checks, writes and posts the Bundle."""
        from cfcam.exchange.fhir import as_bytes, gather, post, problems
        from cfcam.exchange.fhir.server import ServerError, token_of
        from cfcam.files import save
        from cfcam.private import DOORS, exposed

        if self.token_file is not None and (told := exposed(self.token_file, DOORS)):
            hint(told)
        token = None if self.post is None else token_of(self.token_file)
        found = gather(self.study, audit=self.where, recorded=None if self.time is None else _time(self.time))
        made: dict[str, Any] = found.bundle(keep_uids=self.keep_uids)
        if wrong := problems(made):
            raise InputError(f"{self.study.name}: no valid Bundle comes of it ({wrong[0]}); please report this")
        data = as_bytes(made)
        for note in found.notes:
            hint(note)
        if self.output is not None:
            save(self.output, data)
            hint(f"{counted(len(made['entry']), 'resource')} in {self.output}")
        if self.post is not None:
            try:
                answer = post(data, self.post, token=token, timeout_s=self.timeout)
            except ServerError as problem:
                error(problem)
                raise typer.Exit(EXIT_FAILED) from problem
            out().print(f"posted: {answer.created} new, {answer.kept} known already")
        elif self.output is None:
            typer.echo(data.decode(), nl=False)
