"""``cfcam send``: pictures and results into a PACS."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from cfcam.cli.command import Checked
from cfcam.cli.output.console import EXIT_FAILED, error, hint, print_json
from cfcam.cli.output.panels import Panel
from cfcam.cli.pacs.door import PLACE, Door, place
from cfcam.errors import ImageError

_WORDS = {"stored": "stored", "already there": "already there", "refused": "refused", "try again": "to be tried again"}


def _there(paths: Sequence[Path]) -> None:
    for number, path in enumerate(paths, start=1):
        if not path.exists():  # its name is not repeated, which may be a patient's
            raise ImageError(f"path {number} of {len(paths)} to send: no such file or folder; check it")


@dataclass(frozen=True, kw_only=True)
class Send(Door):
    """Send DICOM objects to a PACS: files, folders, or what cfcam explain --dicom wrote.

    They go as they are, byte for byte, by C-STORE or STOW-RS. The place is asked first what it has: what is there with
    the same content is not sent again, so that the same command goes on where it stopped; where another object is
    there under the same UID, that is told, for archives keep the first without a word. One object that fails is no
    harm to the others.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam send maps/ dicom://ARCHIVE@pacs.hospital:11112

    cfcam send maps/ https://pacs.hospital/dicom-web --token-env PACS_TOKEN

    cfcam send chest.dcm dicoms://ARCHIVE@pacs.hospital:2762 --aet MYTITLE --ca hospital.pem --cert me.pem

A password or token is taken from a file or an environment variable; as an argument others could see it.

Exit codes: 0 all there · 1 some not · 2 wrong usage · 130 interrupted.
"""
    everyday: ClassVar[str] = "aet user password_env token_env ca again as_json quiet"
    goes_on: ClassVar[bool] = True
    panel: ClassVar[Panel | None] = Panel.RUN

    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATHS", help="DICOM files, and folders with their sub-folders.", show_default=False),
        Checked(_there),
    ]
    place: Annotated[str, typer.Argument(metavar="PLACE", help=PLACE, show_default=False), Checked(place)]
    again: Annotated[bool, typer.Option("--again", help="Send without asking first what is there.")] = False

    def __call__(self) -> None:
        """Sends, and says what became of it."""
        from cfcam.cli.pacs.transfer import progress, show_reasons, show_summary
        from cfcam.exchange.pacs import send
        from cfcam.exchange.pacs.sending import dicom_files

        place, started = self.reached(self.place), time.perf_counter()
        files, others = dicom_files(self.paths)
        if others and not self.quiet:
            hint(f"{others} {'file is' if others == 1 else 'files are'} no DICOM and not sent")
        with progress(len(files), "sending", quiet=self.quiet) as tell:
            report = send(place, files, self.access(), on=tell, look_first=not self.again)
        seconds = time.perf_counter() - started
        if not files:
            error("there is no DICOM object in what is to be sent: cfcam explain --dicom pm,seg,sr writes some")
        show_reasons(report, quiet=self.quiet or self.as_json)
        if files and not self.quiet and not self.as_json:
            show_summary(report, _WORDS, str(place), seconds)
        if self.as_json:
            print_json({"place": str(place), "others": others, "seconds": round(seconds, 3), **report.as_dict()})
        if not files or not report.done:
            raise typer.Exit(EXIT_FAILED)
