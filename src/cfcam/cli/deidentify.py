"""``cfcam deidentify``: pictures without their patient, before anything is derived from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.command import Checked, Command
from cfcam.cli.output.console import EXIT_FAILED, error, hint, out
from cfcam.errors import InputError
from cfcam.private import PSEUDONYMS, exposed


@dataclass(frozen=True, kw_only=True)
class Deidentify(Command):
    """Write DICOM pictures without the patient's identity.

    Basic profile of PS3.15, stricter where that is unsure; a pseudonym and one date shift for each patient, both from
    the key. With the same key a patient gets the same pseudonym again; who has the key can find the patient.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam deidentify study/ clean/ --key secret.key

    cfcam deidentify study/ clean/ --key secret.key --allow-burned-in    (after looking at the pictures)

Exit codes: 0 all done · 1 some files refused · 2 wrong usage.
"""

    source: Annotated[
        Path,
        typer.Argument(help="A DICOM file, or a folder with its subfolders.", show_default=False),
        Checked(places.source),
    ]
    output: Annotated[
        Path,
        typer.Argument(help="The folder for the results, not in the source.", show_default=False),
        Checked(places.folder),
    ]
    key: Annotated[
        Path | None,
        typer.Option(
            help="File with the secret key; made, for you alone to read, if it is missing.", show_default=False
        ),
        Checked(places.key),
    ] = None
    allow_burned_in: Annotated[
        bool, typer.Option("--allow-burned-in", help="Take pictures too that may show a name in their pixels.")
    ] = False
    max_megapixels: Annotated[
        float,
        typer.Option(help="Refuse pictures whose frames have more pixels, in millions.", metavar="N"),
        Checked(words.megapixels),
    ] = 64.0

    def __post_init__(self) -> None:
        """Looks for results that would be taken for a source."""
        super().__post_init__()
        if self.source.resolve() in (
            self.output.resolve(),
            *self.output.resolve().parents,
        ):  # as `deidentify_folder` says later
            raise InputError("the output lies in the folder to de-identify; name one beside it")

    def __call__(self) -> None:
        """Writes the pictures, and says which were refused."""
        from cfcam.exchange.deidentify.deidentifier import Deidentifier
        from cfcam.exchange.deidentify.folder import deidentify_folder
        from cfcam.exchange.deidentify.key import kept_key, new_key

        key = new_key() if self.key is None else kept_key(self.key)
        most = round(self.max_megapixels * 1e6)
        deidentifier = Deidentifier(key, allow_burned_in=self.allow_burned_in, max_pixels=most)
        report = deidentify_folder(self.source, self.output, deidentifier)
        if self.key is not None and (told := exposed(self.key, PSEUDONYMS)):
            hint(told)
        for line in report.refused:
            error(line)
        written, others, copies = len(report.written), report.others, report.copies
        told = f"{written} {'picture' if written == 1 else 'pictures'} de-identified, {len(report.refused)} refused"
        if copies:
            told += f", {copies} {'file is a copy' if copies == 1 else 'files are copies'} of these"
        if others:
            told += f", {others} {'file is' if others == 1 else 'files are'} no DICOM"
        out().print(told)
        if self.key is None:
            hint("no --key was given: another run gives other pseudonyms, and nobody can find the patients again")
        if report.refused or not report.written:
            raise typer.Exit(EXIT_FAILED)
