"""The answers of readers in the viewer: the book of `cfcam.jobs.assess`, with the statuses of HTTP."""

from __future__ import annotations

from cfcam.jobs.assess import book
from cfcam.jobs.assess.book import Trouble
from cfcam.web.problems import RefusedError

_STATUSES = {
    Trouble.NO_AUDIT: 409,
    Trouble.NO_READER: 422,
    Trouble.OTHER_READER: 409,
    Trouble.BUSY: 503,
    Trouble.DAMAGED: 409,
    Trouble.UNUSABLE: 503,
}
_SOON = 2  # seconds after which others may have done writing


class ReviewBook(book.ReviewBook):
    """As `cfcam.jobs.assess.book.ReviewBook`; its errors are answers."""

    no_audit = "no answers are kept, as no audit is open: start cfcam view with --record FILE"
    no_reader = "who answers is not known: give a reviewer, or start cfcam view with --reviewer NAME"
    other_reader = "this viewer was started for {}: answer under that name"

    def trouble(self, kind: Trouble, message: str) -> RefusedError:
        """Returns the error to raise."""
        return RefusedError(_STATUSES[kind], message, retry_after=_SOON if kind is Trouble.BUSY else None)
