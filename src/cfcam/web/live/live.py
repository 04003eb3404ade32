"""The network as the addresses see it: asked from the server's loop, answered by the one thread that owns it.

Nothing here imports torch before the first map is asked for.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from cfcam.web.live.network import Abandoned, BusyError, LiveNetwork, NoNetworkError, Ticket
from cfcam.web.live.schemas import Progress
from cfcam.web.problems import NotFoundError, RefusedError
from cfcam.web.schemas import ModelInfo
from cfcam.web.settings import ViewSettings

if TYPE_CHECKING:
    from cfcam.web.live.engine import LiveEngine

R = TypeVar("R")
Left = Callable[[], Awaitable[bool]]

_LOOK = 0.1  # seconds between two looks whether the client is still there
_CLIENT_LEFT = 499
JOB = re.compile(r"[A-Za-z0-9_-]{8,64}")


class Live:
    """The network of a viewer; it is loaded with the first map that is asked for.

    Args:
        settings: of the viewer.
        waiting: requests at the network, at most; None: `cfcam.web.live.network.WAITING`.
    """

    def __init__(self, settings: ViewSettings, waiting: int | None = None) -> None:
        self._settings = settings
        load = None if settings.load is None else self._load
        self._network: LiveNetwork[LiveEngine] = LiveNetwork(load, *([] if waiting is None else [waiting]))
        self._jobs: dict[str, Ticket] = {}

    def _load(self) -> LiveEngine:
        from cfcam.web.live.engine import LiveEngine

        assert self._settings.load is not None  # noqa: S101 (asked before)
        return LiveEngine(self._settings.load(), layer=self._settings.layer, prepare=self._settings.prepare)

    def info(self) -> ModelInfo | None:
        """Returns what is known of the network; it is not loaded for that. None: there is none."""
        if not self._network.given:
            return None
        engine, name = self._network.owner, self._settings.model or "network"
        if engine is None:
            return ModelInfo(name=name, layer=self._settings.layer)
        return ModelInfo(
            name=self._settings.model or engine.name,
            layer=engine.layer,
            layers=list(engine.layers),
            classes=list(engine.classes),
            loaded=True,
        )

    async def ask(self, work: Callable[[LiveEngine, Ticket], R], left: Left, job: str | None = None) -> R:
        """Has work done by the network's thread.

        Args:
            work: called there.
            left: tells whether the client has left; what it asked for is then dropped, or ends at the next pass.
            job: the name by which the client asks how far it is, and can stop it; None: it does not.

        Raises:
            RefusedError: 429: too many requests wait; 409: it was stopped; 503: there is no network.
            CfcamError: what the work raised.
        """
        ticket = Ticket()
        if job is not None:
            if job in self._jobs:
                raise RefusedError(409, "a request of this job is at work: give each a name of its own")
            self._jobs[job] = ticket
        try:
            answer = asyncio.wrap_future(self._network.submit(work, ticket))
            try:
                return await self._answered(answer, left)
            finally:
                if not answer.done():
                    ticket.stop()
                    answer.cancel()
        except BusyError as error:
            raise RefusedError(429, str(error), retry_after=1) from error
        except NoNetworkError as error:
            raise RefusedError(409, str(error)) from error
        except Abandoned as error:
            raise RefusedError(409, "stopped: ask again for what you need") from error
        finally:
            if job is not None:
                del self._jobs[job]

    async def _answered(self, answer: asyncio.Future[R], left: Left) -> R:
        while True:
            await asyncio.wait({answer}, timeout=_LOOK)
            if answer.cancelled():
                raise BusyError("the viewer is closing")
            if answer.done():
                return answer.result()
            if await left():
                raise RefusedError(_CLIENT_LEFT, "the client has left")

    def progress(self, job: str) -> Progress:
        """Returns how far a job is.

        Raises:
            NotFoundError: none of this name is at work.
        """
        ticket = self._ticket(job)
        left = ticket.seconds_left
        return Progress(
            waiting=ticket.queued is None,
            fraction=ticket.fraction,
            seconds_left=None if left is None else round(left, 1),
        )

    def stop(self, job: str) -> None:
        """Ends a job before the network's next pass; its request is answered with 409.

        Raises:
            NotFoundError: none of this name is at work.
        """
        self._ticket(job).stop()

    def _ticket(self, job: str) -> Ticket:
        ticket = self._jobs.get(job)
        if ticket is None:
            raise NotFoundError("no job of this name is at work: it has ended, or was never begun")
        return ticket

    def close(self) -> None:
        """Ends what is at work, and the thread."""
        self._network.close()
