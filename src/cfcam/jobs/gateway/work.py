"""The process that owns the networks: one study at a time, and where it dies, only it does."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import secrets
import shutil
import signal
import sqlite3
import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cfcam.errors import CfcamError
from cfcam.jobs.gateway.job import Answer, Job
from cfcam.jobs.gateway.settings import GatewaySettings, Network

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from cfcam.imaging import Preprocess, VolumePreprocess
    from cfcam.jobs.gateway.prior import Compared
    from cfcam.jobs.study.result import StudyExplainer
    from cfcam.models import LoadedModel

_FULL = (errno.ENOSPC, errno.EDQUOT)
_ENDING = 5.0  # seconds that the process has to end by itself


class LostError(CfcamError, RuntimeError):
    """Work ended without an answer: memory ran out, a library crashed, or it took too long."""


class Worker:
    """The process, started when there is work, and anew after it died.

    Args:
        settings: of the gateway.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._process: Any = None
        self._pipe: Connection | None = None
        self.starts = 0

    def __call__(self, job: Job) -> Answer:
        """Explains a study.

        Raises:
            LostError: it ended without an answer.
        """
        pipe = self._ready()
        try:
            pipe.send(job)
            if not pipe.poll(self._settings.work.longest_s):
                self._end(at_once=True)
                raise LostError(f"work took longer than {self._settings.work.longest_s:g} s")
            answer: Answer = pipe.recv()
        except (EOFError, OSError):
            self._end(at_once=True)
            raise LostError("the process that explains ended, as it does when memory runs out") from None
        return answer

    def _ready(self) -> Connection:
        with self._lock:
            if self._pipe is None or not self._process.is_alive():
                context = multiprocessing.get_context("spawn")  # torch does not survive a fork
                self._pipe, other = context.Pipe()
                self._process = context.Process(
                    target=serve, args=(other, self._settings), name="cfcam-worker", daemon=True
                )
                self._process.start()
                other.close()
                self.starts += 1
            return self._pipe

    def close(self) -> None:
        """Ends the process; what it is at begins anew at the next start."""
        self._end(at_once=True)

    def _end(self, *, at_once: bool) -> None:
        with self._lock:
            process, self._process = self._process, None
            pipe, self._pipe = self._pipe, None
            if pipe is not None:
                pipe.close()
            if process is not None:
                if at_once:
                    process.kill()
                process.join(_ENDING)


def serve(pipe: Connection, settings: GatewaySettings) -> None:
    """Answers jobs until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the gateway ends it
    networks: dict[str, Loaded] = {}
    while True:
        try:
            job = pipe.recv()
            pipe.send(answered(job, settings, networks))
        except (EOFError, OSError):
            return


def answered(job: Job, settings: GatewaySettings, networks: dict[str, Loaded]) -> Answer:
    """Explains a study, and never raises: what went wrong is the answer.

    Args:
        job: the study.
        settings: of the gateway.
        networks: that are loaded; more are added.
    """
    from cfcam.jobs.gateway.results import made

    place = settings.spool.folder / "work" / secrets.token_hex(8)
    try:
        place.mkdir(mode=0o700)
        if job.network not in networks:
            networks[job.network] = loaded(settings.network[job.network])
        known = networks[job.network]
        return made(job, settings, known.explainer, place, compare=partial(_prior, job, settings, known, place))
    except CfcamError as error:
        return Answer(reason=str(error), full=_is_full(error))
    except OSError as error:
        return Answer(reason=f"the study cannot be read or written ({type(error).__name__})", full=_is_full(error))
    except MemoryError:
        os._exit(1)  # nothing can be trusted after it
    except Exception as error:  # noqa: BLE001 (a network may raise anything; its words may hold anything)
        return Answer(reason=f"the study cannot be explained ({type(error).__name__})", full=_is_full(error))
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(place)


def _is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is a full disk: of a file, or of the audit's database."""
    while error is not None:
        if getattr(error, "errno", None) in _FULL or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def _prior(job: Job, settings: GatewaySettings, known: Loaded, place: Path, current: Path, out: Path) -> Compared:
    """Compares a study with the one before it, if that is asked for."""
    from cfcam.jobs.gateway.prior import Compared, compared, find_prior

    if settings.prior is None:
        return Compared()

    try:
        prior = find_prior(settings.prior, job.files[0], place / "prior", volume=job.volume)
    except CfcamError as error:
        return Compared(trouble=f"a prior study cannot be asked for: {error}")
    if prior is None:
        return Compared()
    return compared(prior, current, out, known.model, settings.network[job.network], known.preprocess)


@dataclass(frozen=True)
class Loaded:
    """A network that is set up.

    Attributes:
        model: the network.
        preprocess: what is done to a study before.
        explainer: explains studies with it.
    """

    model: LoadedModel
    preprocess: Preprocess | VolumePreprocess
    explainer: StudyExplainer


def loaded(network: Network) -> Loaded:
    """Loads a network, and sets it up.

    Raises:
        CfcamError: it cannot be loaded, or the settings do not fit it.
    """
    from cfcam.imaging.windows import named_window
    from cfcam.jobs.inputs.preparing import preprocess_of, volume_preprocess_of
    from cfcam.jobs.study.result import StudyExplainer
    from cfcam.jobs.study.settings import StudySettings
    from cfcam.models import load
    from cfcam.models.expects import takes_volumes

    model = load(
        network.model,
        weights=network.weights,
        num_classes=network.num_classes,
        classes=network.classes,
        device=network.device,
    )
    model = replace(model, output=network.head, probability=network.probability or model.probability)
    size: Any = network.size if network.size is None or len(network.size) > 1 else network.size[0]
    prepared: Preprocess | VolumePreprocess
    if takes_volumes(model.module):
        prepared = volume_preprocess_of(
            model,
            mean=network.mean,
            std=network.std,
            size=size,
            window=named_window(network.window),
            intensity=network.intensity,
        )
    else:
        prepared = preprocess_of(model, mean=network.mean, std=network.std, size=size)
    explainer = StudyExplainer(
        model,
        network.methods,
        tuple(_target(one) for one in network.targets),
        layer=network.layer,
        preprocess=prepared,
        window=network.window,
        settings=StudySettings(
            threshold=_threshold(network.threshold),
            uncertainty=network.uncertainty,
            peak_stability=network.peak_stability,
            allow_burned_in=network.allow_burned_in,
        ),
    )
    return Loaded(model, prepared, explainer)


def _target(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _threshold(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
