"""An audit in a file: the certificate that it ends with, and how it is checked without the database."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cfcam import json_text
from cfcam.clinical.audit.chain import (
    ChainRow,
    Verification,
    digest,
    timestamp,
    verify_rows,
)
from cfcam.clinical.audit.fields import (
    AuditError,
)


@dataclass(frozen=True)
class Certificate:
    """What an export certifies.

    Attributes:
        count: number of records.
        head: hash of the last of them.
        first: time of the first record, None without records.
        last: time of the last record.
        exported: when it was exported, in UTC.
    """

    count: int
    head: str
    first: datetime | None
    last: datetime | None
    exported: datetime

    @property
    def text(self) -> str:
        """The certificate in words, to be printed, signed or sent to somebody who keeps it."""
        period = (
            "" if self.first is None or self.last is None else f", {timestamp(self.first)} to {timestamp(self.last)}"
        )
        return (
            f"Certificate of an audit of cfcam, exported {timestamp(self.exported)}.\n"
            f"Records: {self.count}{period}\n"
            f"Head (SHA-256): {self.head}\n"
            "Each record holds the SHA-256 of the one before; the head is that of the last. The chain was whole\n"
            "when it was exported. Keep the head where nobody who writes to the audit can change it: with it a\n"
            "later check finds records that were changed, deleted or replaced up to here. The times are those of\n"
            "the machines that wrote. This supports documentation; it is not a statement of compliance.\n"
            "Research use only; not a medical device."
        )


def verify_export(path: str | os.PathLike[str]) -> Verification:
    """Reads the chain of an exported file up to its certificate.

    Raises:
        AuditError: the file is not an export.
    """
    *lines, _ = _lines(path)
    rows = (ChainRow(number, line, digest(line)) for number, line in enumerate(lines, start=1))
    return verify_rows(rows, exported_head(path))


def exported_head(path: str | os.PathLike[str]) -> str:
    """Returns the head hash that an exported file certifies.

    Raises:
        AuditError: the file is not an export.
    """
    last = _lines(path)[-1]
    try:
        head = json_text.parse(last, "its last line")["certificate"]["head"]
    except (ValueError, KeyError, TypeError) as problem:
        raise AuditError(f"{str(path)!r} has no certificate in its last line: it is not a whole export") from problem
    return str(head)


def _lines(path: str | os.PathLike[str]) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as problem:
        raise AuditError(f"{str(path)!r} cannot be read ({problem.strerror}): give the file of an export") from problem
    return text.removesuffix("\n").split("\n")
