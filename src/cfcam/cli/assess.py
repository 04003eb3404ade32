"""``cfcam assess``: what a reader says of a map, from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.command import Checked, Command
from cfcam.cli.output.console import hint, out, print_json
from cfcam.errors import InputError

VERDICTS = ("accept", "reject", "amend")


def _reviewer(name: str) -> None:
    if not name.strip():
        raise InputError("--reviewer: give the name of whoever answers")


@dataclass(frozen=True, kw_only=True)
class Assess(Command):
    """Accept, reject or amend a map: recorded in the audit, and of DICOM written as an SR beside the other objects.

    It is the same record, and the same document, as the viewer's. A later answer on the same map takes the place of the
    earlier one, which stays as it is.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam assess output/study-001_regions.json accept --reviewer "A. Reader" -a audit.sqlite --source chest.dcm

    cfcam assess output/study-001_regions.json amend --method grad-cam --target nodule --reviewer "A. Reader"
    -a audit.sqlite --amend threshold=0.4 --comment "smaller than marked"
"""

    study: Annotated[
        Path,
        typer.Argument(metavar="STUDY", help="NAME_regions.json, as cfcam explain writes it."),
        Checked(places.file("")),
    ]
    verdict: Annotated[
        str,
        typer.Argument(metavar="VERDICT", help=f"{', '.join(VERDICTS)}."),
        Checked(words.one_of("VERDICT", VERDICTS)),
    ]
    reviewer: Annotated[
        str,
        typer.Option("--reviewer", metavar="NAME", envvar="CFCAM_REVIEWER", help="Who answers; it is not checked."),
        Checked(_reviewer),
    ]
    where: Annotated[
        str,
        typer.Option(
            "-a", "--audit", metavar="FILE|URL", envvar="CFCAM_AUDIT", help="The audit: a file or a database's URL."
        ),
        Checked(places.audit),
    ]
    method: Annotated[str | None, typer.Option(metavar="NAME", help="Of the map, if there are several.")] = None
    target: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Its class, by number or name, if there are several.")
    ] = None
    comment: Annotated[
        str, typer.Option(metavar="TEXT", help="The reader's words, kept for good; they name no patient.")
    ] = ""
    amend: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What takes the place of what the map says; repeatable."),
    ] = None
    source: Annotated[
        Path | None,
        typer.Option(metavar="FILE|FOLDER", help="The DICOM that was explained, to which the SR refers."),
        Checked(places.input_),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False

    def __call__(self) -> None:
        """Records the answer, and says what was written."""
        from cfcam.clinical.review import Verdict
        from cfcam.jobs.assess.run import assess
        from cfcam.jobs.assess.settings import AssessSettings, read_amended

        done = assess(
            AssessSettings(
                study=self.study,
                verdict=Verdict(self.verdict),
                reviewer=self.reviewer,
                audit=self.where,
                method=self.method,
                target=self.target,
                comment=self.comment,
                amended=read_amended(self.amend or ()),
                source=self.source,
            )
        )
        for note in done.notes:
            hint(note)
        review = done.review
        if self.as_json:
            document = None if done.document is None else str(done.document)
            print_json({"record": review.record_id, "supersedes": review.supersedes, "document": document})
            return
        out().print(f"recorded: {review.record_id}", markup=False)
        if review.supersedes is not None:
            hint(f"it takes the place of {review.supersedes}")
        if done.document is not None:
            out().print(f"written: {done.document}", markup=False, soft_wrap=True)
