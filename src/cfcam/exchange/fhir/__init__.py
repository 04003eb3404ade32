"""A study's result as FHIR R4B resources, in one transaction Bundle that can be posted twice.

Nine resources are used (ImagingStudy, Device, Observation, DiagnosticReport, DocumentReference, Provenance, AuditEvent,
Bundle, and OperationOutcome in answers), of which R4 (4.0.1) and R4B (4.3.0) define the same elements, so that a server
of either takes the Bundle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.clinical.report.read import read_study
    from cfcam.exchange.fhir.beside import Gathered, gather
    from cfcam.exchange.fhir.documents import DicomFile
    from cfcam.exchange.fhir.server import Answer, post
    from cfcam.exchange.fhir.transaction import as_bytes, bundle
    from cfcam.exchange.fhir.validate import problems

__all__ = ["Answer", "DicomFile", "Gathered", "as_bytes", "bundle", "gather", "post", "problems", "read_study"]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.exchange.fhir.transaction": "as_bytes bundle",
        "cfcam.exchange.fhir.documents": "DicomFile",
        "cfcam.exchange.fhir.beside": "Gathered gather",
        "cfcam.exchange.fhir.server": "Answer post",
        "cfcam.clinical.report.read": "read_study",
        "cfcam.exchange.fhir.validate": "problems",
    },
)
