"""``cfcam fetch``: studies out of a PACS."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import places
from cfcam.cli.command import Checked
from cfcam.cli.output.console import EXIT_FAILED, error, hint, out, plain, print_json
from cfcam.cli.output.panels import Panel
from cfcam.cli.pacs.door import PLACE, Door, place
from cfcam.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

    from cfcam.exchange.pacs import Access, Place

_WORDS = {
    "stored": "fetched",
    "already there": "fetched before",
    "refused": "refused",
    "try again": "to be tried again",
}
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_DATES = re.compile(r"(\d{8})?-(\d{8})?|\d{8}")
_SHOWN = 50
# What a listing says of a study; nothing of the patient.
_COLUMNS = {
    "date": "StudyDate", "modalities": "ModalitiesInStudy", "description": "StudyDescription",
    "series": "NumberOfStudyRelatedSeries", "objects": "NumberOfStudyRelatedInstances", "study": "StudyInstanceUID",
}  # fmt: skip


def _uids(option: str) -> Any:
    def check(uids: list[str]) -> None:
        for uid in uids:
            if not _UID.fullmatch(uid) or len(uid) > 64:
                raise InputError(f"{option} {uid!r}: a UID is numbers with dots between, such as 1.2.840.113619.2.1")

    return check


def _dates(text: str) -> None:
    if text == "-" or not _DATES.fullmatch(text):
        raise InputError(
            f"--date {text!r}: give a day as 20260131, or a range as 20260101-20260131, 20260101- or -20260131"
        )


def _modality(text: str) -> None:
    if not re.fullmatch(r"[A-Z0-9]{1,16}", text):
        raise InputError(f"--modality {text!r}: give one as DICOM writes it, such as CT, MR or DX")


@dataclass(frozen=True, kw_only=True)
class Fetch(Door):
    """Fetch studies from a PACS into a folder, or list what it has.

    Whole objects come as they are stored, by WADO-RS or C-GET: no port of this machine has to be open. Files are named
    by hashes, study-…/series-…/….dcm, and written whole or not at all; the same command goes on where it stopped. The
    folder can be given to cfcam explain as it is. Nothing there is changed.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam fetch dicom://ARCHIVE@pacs.hospital:11112 --modality CT --date 20260101-20260131 --list

    cfcam fetch https://pacs.hospital/dicom-web --study 1.2.840.113619.2.1 -o study/ --token-env PACS_TOKEN

    cfcam fetch dicom://ARCHIVE@pacs.hospital:11112 --accession A12345 --modality DX -o study/

With --modality a study is one that has it, and its series of that modality alone are fetched.

Exit codes: 0 all there · 1 some not, or nothing found · 2 wrong usage · 130 interrupted.
"""
    everyday: ClassVar[str] = (
        "aet user password_env token_env ca study series accession modality date only_list output as_json quiet"
    )
    goes_on: ClassVar[bool] = True
    panel: ClassVar[Panel | None] = Panel.WANTED

    place: Annotated[str, typer.Argument(metavar="PLACE", help=PLACE, show_default=False), Checked(place)]
    study: Annotated[
        list[str] | None,
        typer.Option(metavar="UID", help="A study by its Study Instance UID; repeatable.", show_default=False),
        Checked(_uids("--study")),
    ] = None
    series: Annotated[
        list[str] | None,
        typer.Option(metavar="UID", help="These series alone; repeatable.", show_default=False),
        Checked(_uids("--series")),
    ] = None
    accession: Annotated[str | None, typer.Option(metavar="NUMBER", help="Studies of an accession number.")] = None
    patient_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Studies of a patient; other users of this machine can see it.")
    ] = None
    modality: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Studies with it, and of them its series alone."),
        Checked(_modality),
    ] = None
    date: Annotated[
        str | None, typer.Option(metavar="DAY|FROM-TO", help="Studies of a day or of some days."), Checked(_dates)
    ] = None
    only_list: Annotated[bool, typer.Option("--list", help="Fetch nothing; list the studies.")] = False
    most: Annotated[int, typer.Option(min=1, metavar="N", help="Fetch nothing where more studies are found.")] = 20
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where they go.", rich_help_panel=Panel.RUN),
        Checked(places.folder),
    ] = Path("fetched")

    def __post_init__(self) -> None:
        """Looks for what says which studies are wanted."""
        super().__post_init__()
        if not self.only_list and not (self.study or self.accession or self.patient_id or self.modality or self.date):
            raise InputError(
                "say which studies: --study UID, --accession, --modality, --date …; or see them with --list"
            )
        if self.series and len(self.study or []) != 1:
            raise InputError("--series: name the study that they are of too, with --study UID")

    def __call__(self) -> None:
        """Lists or fetches, and says what became of it."""
        from cfcam.exchange.pacs import NetworkError

        place, access = self.reached(self.place), self.access()
        try:
            studies = self._studies(place, access)
            if self.only_list:
                self._list(studies)
            else:
                self._fetch(place, access, [str(one.StudyInstanceUID) for one in studies])
        except NetworkError as problem:
            error(problem)
            raise typer.Exit(EXIT_FAILED) from problem

    def _studies(self, place: Place, access: Access) -> list[Dataset]:
        from cfcam.exchange.pacs import query

        keys = {
            "StudyInstanceUID": self.study or "",
            "AccessionNumber": self.accession or "",
            "PatientID": self.patient_id or "",
            "ModalitiesInStudy": self.modality or "",
            "StudyDate": self.date or "",
        }
        found = query(place, "study", keys, access)
        return sorted(found, key=lambda one: (str(one.get("StudyDate") or ""), str(one.StudyInstanceUID)))

    def _list(self, studies: list[Dataset]) -> None:
        from rich.table import Table
        from rich.text import Text

        rows = [{name: _text(one.get(keyword)) for name, keyword in _COLUMNS.items()} for one in studies]
        if self.as_json:
            print_json({"studies": rows})
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in _COLUMNS:
            table.add_column(name, overflow="fold" if name == "study" else "ellipsis", no_wrap=name != "study")
        for row in rows[:_SHOWN]:
            table.add_row(*(Text(plain(value)) for value in row.values()))
        out().print(table)
        if len(rows) > _SHOWN:
            out().print(Text(f"... and {len(rows) - _SHOWN} more; --json lists all", style="dim"))
        if not rows and not self.quiet:
            hint("the place was asked, and has no such study")

    def _fetch(self, place: Place, access: Access, studies: list[str]) -> None:
        from cfcam.cli.pacs.transfer import progress, show_reasons, show_summary
        from cfcam.exchange.pacs import fetch, listing

        if not studies:
            error("the place was asked, and has no such study: see what it has with --list")
            raise typer.Exit(EXIT_FAILED)
        if len(studies) > self.most:
            raise InputError(f"{len(studies)} studies are found, more than --most {self.most}: see them with --list")
        started = time.perf_counter()
        wanted = listing(place, studies, access, series=self.series or (), modality=self.modality)
        with progress(len(wanted), "fetching", quiet=self.quiet) as tell:
            report = fetch(place, wanted, self.output, access, on=tell)
        seconds = time.perf_counter() - started
        show_reasons(report, quiet=self.quiet or self.as_json)
        if self.as_json:
            files = [str(one.path) for one in report.sent if one.path is not None]
            print_json(
                {"studies": len(studies), "output": str(self.output), "seconds": round(seconds, 3)}
                | report.as_dict()
                | {"files": files}
            )
        elif not self.quiet:
            show_summary(report, _WORDS, f"{self.output}/", seconds)
        if not report.done:
            raise typer.Exit(EXIT_FAILED)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return (
        str(value)
        if isinstance(value, (str, int, float)) or not hasattr(value, "__iter__")
        else ", ".join(map(str, value))
    )
