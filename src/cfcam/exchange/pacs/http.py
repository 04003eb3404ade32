"""HTTP as DICOMweb needs it: one session, whose errors are one line and say whether to try again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cfcam.errors import MissingExtraError
from cfcam.exchange.pacs.association import probed, tls_context
from cfcam.exchange.pacs.outcome import NetworkError
from cfcam.exchange.pacs.place import Access, Place

if TYPE_CHECKING:
    from requests import Response

_PIECE = 1 << 18
_PASSES = (408, 425, 429, 502, 503, 504)
_WORDS = {
    301: "has moved: give its new address",
    302: "sends elsewhere, perhaps to a page for logging in: give the address of the service, and a token",
    307: "has moved: give its new address",
    308: "has moved: give its new address",
    401: "asks for a user with a password, or a token, and takes none that was given",
    403: "does not allow this user to do it",
    404: "has no DICOMweb service at this address, or no such object: check the address",
    405: "does not do this at that address: check the address",
    413: "takes no message as large as this",
    429: "was asked too often",
    503: "is too busy",
}


class Web:
    """A DICOMweb server, as long as it is spoken to.

    Nothing but the place's own answers is followed: no redirects, which would carry a password elsewhere, and no
    passwords from files of this user's (``.netrc``). A proxy that the environment names is used.
    """

    def __init__(self, place: Place, access: Access) -> None:
        try:
            import requests
            from requests.adapters import HTTPAdapter
        except ModuleNotFoundError as error:
            raise MissingExtraError("requests", "pacs", "speaking to a DICOMweb server") from error

        # Its lines repeat addresses, and who was searched for stands in them; it is a switch of the whole process.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.CRITICAL)
        tls: dict[str, Any] = {"ssl_context": tls_context(access)} if place.tls else {}

        class Adapter(HTTPAdapter):
            def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: Any) -> None:
                super().init_poolmanager(connections, maxsize, block, **more, **tls)

        self.place, self.access = place, access
        self._session = requests.Session()
        self._session.mount(f"{place.scheme}://", Adapter())
        self._session.auth = self._signed

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def _signed(self, request: Any) -> Any:
        """Adds what opens the door; a function of ours, so that requests looks for nothing else."""
        from requests.auth import HTTPBasicAuth

        access = self.access
        if access.token is not None:
            request.headers["Authorization"] = f"Bearer {access.token.reveal()}"
        elif access.user is not None:
            password = "" if access.password is None else access.password.reveal()
            return HTTPBasicAuth(access.user.encode(), password.encode())(request)
        return request

    @contextmanager
    def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: Any = None,
        fine: tuple[int, ...] = (200, 204),
    ) -> Iterator[Response]:
        """Asks, and yields the answer, whose content is still on its way.

        Args:
            method: of HTTP.
            path: what stands after the service's address, such as ``/studies``; encoded by who calls.
            headers: beside those that requests adds.
            body: bytes, or an iterable of bytes with a length.
            fine: statuses that are no error.

        Raises:
            NetworkError: no answer came, or another status.
        """
        import requests
        from urllib3.exceptions import LocationValueError

        timeout = self.access.timeout_s
        try:
            with self._session.request(
                method,
                f"{self.place.url}{path}",
                headers=dict(headers),
                data=body,
                stream=True,
                allow_redirects=False,
                timeout=(timeout, timeout),
                verify=True if self.access.ca is None else str(self.access.ca),
            ) as answer:
                if answer.status_code not in fine:
                    raise StatusError(self.place, answer.status_code)
                yield answer
        except (requests.exceptions.RequestException, LocationValueError) as error:  # requests does not wrap the second
            raise self._told(error) from None

    def pieces(self, answer: Response) -> Iterator[bytes]:
        """Yields the content of an answer piece by piece.

        Raises:
            NetworkError: it broke off.
        """
        import requests

        try:
            yield from answer.iter_content(_PIECE)
        except requests.exceptions.RequestException as error:
            raise self._told(error) from None

    def read(self, answer: Response, most: int) -> bytes:
        """Returns the content of an answer.

        Raises:
            NetworkError: it is larger than so many bytes.
        """
        data = bytearray()
        for piece in self.pieces(answer):
            data += piece
            if len(data) > most:
                raise NetworkError(f"{self.place}: answers with more than {most >> 20} MB", again=False)
        return bytes(data)

    def _told(self, error: Exception) -> NetworkError:
        """Says in our words what went wrong; those of requests repeat addresses with what was searched for."""
        from requests import exceptions
        from urllib3.exceptions import LocationValueError

        if isinstance(error, exceptions.Timeout):
            return NetworkError(f"{self.place}: does not answer in time", again=True)
        if isinstance(error, (exceptions.InvalidURL, LocationValueError)):  # a name that no machine can have
            return probed(self.place, self.access)
        if not isinstance(error, exceptions.ConnectionError):
            return NetworkError(f"{self.place}: the answer broke off ({type(error).__name__})", again=True)
        found = probed(self.place, self.access)
        if not found.again or "cannot be reached" in str(found) or "no machine" in str(found):
            return found
        return NetworkError(f"{self.place}: broke the connection", again=True)  # somebody does listen


class StatusError(NetworkError):
    """A DICOMweb server answered with another status than success.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, place: Place, status: int) -> None:
        words = _WORDS.get(status, "failed" if status >= 500 else "refuses the request")
        super().__init__(f"{place}: {words} (HTTP {status})", again=status in _PASSES)
        self.status = status
