"""``cfcam audit``: the record of what was done, read and verified."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfcam.cli.command import Command, add
from cfcam.cli.output.console import EXIT_FAILED, error, hint, out, print_json
from cfcam.shown import counted

if TYPE_CHECKING:
    from cfcam.clinical.audit import Record


@dataclass(frozen=True, kw_only=True)
class InAudit(Command):
    """Options of all commands of an audit."""

    where: Annotated[
        str,
        typer.Option(
            "-a", "--audit", metavar="FILE|URL", envvar="CFCAM_AUDIT", help="The audit: a file or a database's URL."
        ),
    ] = "audit.sqlite"


@dataclass(frozen=True, kw_only=True)
class Init(InAudit):
    """Make an audit, or bring the table of an existing one up to date; records stay as they are."""

    def __call__(self) -> None:
        """Makes it, and says where it is."""
        from cfcam.clinical.audit.audit import Audit

        made = Audit(self.where)
        out().print(f"audit ready: {made.where}", markup=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class Log(InAudit):
    """Show the records, oldest first."""

    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only from this time on: 2026-01-31 or 2026-01-31T08:00, UTC.")
    ] = None
    action: Annotated[str | None, typer.Option(metavar="NAME", help="Only this action, like report.")] = None
    last: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the last N of them.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON text a line.")] = False

    def __call__(self) -> None:
        """Shows a table, or a JSON text a line."""
        from collections import deque

        from cfcam.clinical.audit.audit import Audit

        found = Audit(self.where, create=False).records(since=_time(self.since), action=self.action)
        shown = found if self.last is None else deque(found, maxlen=self.last)
        if self.as_json:
            import json

            for record in shown:
                typer.echo(json.dumps(_plain(record)))
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        for title in ("record", "time (UTC)", "action", "DICOM event"):
            table.add_column(title, no_wrap=True)
        table.add_column("details", ratio=1)
        for record in shown:
            details = " ".join(f"{name}={_short(value)}" for name, value in record.details.items())
            event = f"{record.event.id.value} {record.event.id.meaning}"
            time = record.time.strftime("%Y-%m-%d %H:%M:%S")
            table.add_row(
                Text(record.id), Text(time), Text(record.action.value, "cyan"), Text(event, "dim"), Text(details)
            )
        out().print(table)


@dataclass(frozen=True, kw_only=True)
class Verify(InAudit):
    """Read the whole chain, and say which record was changed or is missing.

    Records that were cut off at the end are only noticed with --against.
    """

    against: Annotated[
        str | None, typer.Option(metavar="FILE|HASH", help="A file of cfcam audit export, or its head hash.")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False

    def __call__(self) -> None:
        """Says whether the chain is whole, or which record is not."""
        from dataclasses import asdict

        from cfcam.clinical.audit.audit import Audit

        verified = Audit(self.where, create=False).verify(None if self.against is None else _head(self.against))
        if self.as_json:
            print_json(asdict(verified))
        elif verified.ok:
            out().print(f"whole: {counted(verified.count, 'record')}, head {verified.head}", soft_wrap=True)
        if not verified.ok:
            error(
                f"record {verified.first_bad}: {verified.reason}; before it {counted(verified.count, 'whole record')}"
            )
            raise typer.Exit(EXIT_FAILED)
        if self.against is None and not self.as_json:
            hint("records cut off at the end are only noticed with --against an earlier export")


@dataclass(frozen=True, kw_only=True)
class Export(InAudit):
    """Write all records and their certificate to a file, and print the certificate."""

    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, JSON texts one a line.")]

    def __call__(self) -> None:
        """Writes the file, and shows the certificate."""
        from cfcam.clinical.audit.audit import Audit

        certificate = Audit(self.where, create=False).export(self.path)
        typer.echo(certificate.text)
        hint(f"written to {self.path}; keep the head hash where nobody who writes to the audit can change it")


audit = typer.Typer(
    help="Keep, read and verify the append-only record of what was done.",
    epilog="""
**Examples**

    cfcam audit init -a audit.sqlite

    CFCAM_AUDIT=postgresql://cfcam@db.example/audit cfcam audit log --since 2026-01-01 --action report

    cfcam audit export january.jsonl

    cfcam audit verify --against january.jsonl

Exit codes: 0 all is well · 1 a record was changed or is missing · 2 wrong usage · 130 interrupted.
""",
    no_args_is_help=True,
)
add(audit, Init, Log, Verify, Export)


def _head(against: str) -> str:
    from cfcam.clinical.audit import is_digest
    from cfcam.clinical.audit.export import exported_head

    return against.lower() if is_digest(against.lower()) else exported_head(against)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    from cfcam.clinical.audit import AuditError

    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise AuditError(f"--since {text!r} is no time: give one like 2026-01-31 or 2026-01-31T08:00") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _plain(record: Record) -> dict[str, Any]:
    event = record.event
    return {
        "id": record.id,
        "sequence": record.sequence,
        "time": record.time.isoformat(),
        "action": record.action.value,
        "event": {"id": event.id.value, "meaning": event.id.meaning, "action_code": event.action_code}
        | ({"type": event.type.value} if event.type else {}),
        "details": dict(record.details),
        "previous": record.previous,
        "hash": record.hash,
    }


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_short, value))
    if isinstance(value, dict):
        return ",".join(f"{name}:{_short(inner)}" for name, inner in value.items())
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
