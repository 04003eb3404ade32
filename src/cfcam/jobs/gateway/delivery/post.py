"""Bundles to a FHIR server: each once the archive has the objects that it speaks of, and never before.

A Bundle may be posted as often as one likes: each of its entries is conditional (`cfcam.exchange.fhir`).
"""

from __future__ import annotations

from cfcam.exchange.fhir.server import ServerError, post
from cfcam.files import stays_inside
from cfcam.jobs.gateway.access import secret_of
from cfcam.jobs.gateway.delivery.trying import Trying
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.places import Fhir
from cfcam.jobs.gateway.spool import Spool
from cfcam.log import Log

_AT_ONCE = 64
_NOT_LET_IN = (401, 403)


class Poster(Trying):
    """Posts Bundles.

    Args:
        settings: where to.
        spool: where results lie.
        index: which ones.
        log: takes a line when the server is down, and when it is there again.

    Raises:
        InputError: the token is not there.
    """

    def __init__(self, settings: Fhir, spool: Spool, index: Index, log: Log) -> None:
        super().__init__("Bundles", settings, settings.timeout_s, index, log)
        self._settings, self._spool = settings, spool
        self._token = secret_of(settings.token_env, settings.token_file)

    def once(self) -> bool:
        """Posts what waits; tells whether there is more that may be posted at once."""
        waiting = self._index.to_post(_AT_ONCE)
        if not waiting:
            return False
        how = self._settings
        token = None if self._token is None else self._token.reveal()
        for number, result in enumerate(waiting):
            if self._closing.is_set():
                return False
            file = self._spool.results / result.file
            if not (stays_inside(result.file) and file.is_file()):
                self._index.refused(result.file, "the Bundle is not in the spool any more")
                continue
            try:
                post(file.read_bytes(), how.url, token=token, timeout_s=how.timeout_s)
            except ServerError as error:
                self.counts["try again" if error.again else "refused"] += 1
                if error.again:  # the server is down, and so it is for the others
                    self.again([(one, str(error)) for one in waiting[number:]])
                    return False
                self.refuse(result, _reason(error))
            else:
                self.counts["posted"] += 1
                self.arrived([result.file])
        self.again([])
        return len(waiting) == _AT_ONCE


def _reason(error: ServerError) -> str:
    if error.status in _NOT_LET_IN:
        return f"the FHIR server asks for a token, and takes none that was given (HTTP {error.status}): see [fhir]"
    return str(error)
