"""What was done, and by whom: records chained by their hashes, in a database that nothing is taken out of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.clinical.audit.audit import Audit
    from cfcam.clinical.audit.chain import GENESIS, Record, Verification
    from cfcam.clinical.audit.database import check_place
    from cfcam.clinical.audit.export import Certificate, exported_head, verify_export
    from cfcam.clinical.audit.fields import (
        EVENTS,
        FIELDS,
        OUTCOMES,
        Action,
        AuditError,
        Code,
        DamagedError,
        Event,
        MovedError,
        is_digest,
    )

__all__ = [
    "EVENTS",
    "FIELDS",
    "GENESIS",
    "OUTCOMES",
    "Action",
    "Audit",
    "AuditError",
    "Certificate",
    "Code",
    "DamagedError",
    "Event",
    "MovedError",
    "Record",
    "Verification",
    "check_place",
    "exported_head",
    "is_digest",
    "verify_export",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.clinical.audit.audit": "Audit",
        "cfcam.clinical.audit.chain": "GENESIS Record Verification",
        "cfcam.clinical.audit.database": "check_place",
        "cfcam.clinical.audit.export": "Certificate exported_head verify_export",
        "cfcam.clinical.audit.fields": (
            "Action AuditError Code DamagedError EVENTS Event FIELDS MovedError OUTCOMES is_digest"
        ),
    },
)
