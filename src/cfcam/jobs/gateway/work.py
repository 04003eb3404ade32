"""The process that owns the networks: one study at a time, and where it dies, only it does."""

from __future__ import annotations

import contextlib
import errno
import gc
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from cfcam.errors import CfcamError
from cfcam.files import output_of
from cfcam.imaging.reading.dicom_object import quiet
from cfcam.jobs.gateway.job import Answer, Job, Rehearsal, Written
from cfcam.jobs.gateway.prior import Compared, compared, find_prior
from cfcam.jobs.gateway.settings import GatewaySettings, Network, Work

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from cfcam.imaging import Preprocess, VolumePreprocess
    from cfcam.jobs.study.result import StudyExplainer
    from cfcam.models import LoadedModel

_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_MACHINES = (ConnectionError, TimeoutError, socket.gaierror, socket.herror, ssl.SSLError, URLError)
_UNREACHED = (errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)
_ENDING = 5.0  # seconds that the process has to end by itself
_DRAWN = 1024  # pixels of a side of the radiograph that is drawn


class LostError(CfcamError, RuntimeError):
    """Work ended without an answer: memory ran out, a library crashed, or it took too long."""


class Worker:
    """The process, started when there is work, and anew after it died.

    Args:
        settings: of the gateway.
        written: told of each object as soon as it is written, while its study is in the making.
    """

    def __init__(self, settings: GatewaySettings, written: Callable[[Written], None] | None = None) -> None:
        self._settings, self._written = settings, written
        self._lock = threading.Lock()
        self._process: Any = None
        self._pipe: Connection | None = None
        self.starts = 0

    def __call__(self, job: Job | Rehearsal) -> Answer:
        """Explains a study, or rehearses that.

        Raises:
            LostError: it ended without an answer.
        """
        pipe, end = self._ready(), time.monotonic() + self._settings.work.longest_s
        try:
            pipe.send(job)
            while pipe.poll(max(0.0, end - time.monotonic())):
                told: Answer | Written = pipe.recv()
                if isinstance(told, Answer):
                    return told
                if self._written is not None:
                    self._written(told)
        except (EOFError, OSError):
            self._end(at_once=True)
            raise LostError("the process that explains ended, as it does when memory runs out") from None
        self._end(at_once=True)
        raise LostError(f"work took longer than {self._settings.work.longest_s:g} s")

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
    threading.Thread(target=_end_with_the_gateway, daemon=True).start()
    stand_back(settings.work)
    networks: dict[str, Loaded] = {}
    with quiet():  # once for all studies: each time the levels of all loggers are looked at
        while True:
            try:
                job = pipe.recv()
                if isinstance(job, Rehearsal):
                    pipe.send(rehearsed(settings, networks))
                    gc.collect()
                    gc.freeze()  # what is there now stays: no study waits while it is looked through again
                else:
                    ahead = pipe.send if settings.send is not None else None
                    pipe.send(answered(job, settings, networks, written=ahead))
            except (EOFError, OSError):
                return


def _end_with_the_gateway() -> None:
    """However it ended: the next one has the spool for itself, and a worker of its own."""
    gateway = multiprocessing.parent_process()
    if gateway is not None:
        gateway.join()
        os._exit(1)


def stand_back(how: Work) -> None:
    """Leaves processors to those who send originals and store them, for whom nobody has to wait."""
    import torch

    if how.threads or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(how.threads or max(1, (os.cpu_count() or 2) - 1))
    if not how.nice:
        return
    with contextlib.suppress(OSError):
        os.nice(how.nice)
        os.setsid()  # where a kernel groups processes by sessions, to be nice counts within a group alone (sched(7))
        Path("/proc/self/autogroup").write_text(str(how.nice), encoding="ascii")


def rehearsed(settings: GatewaySettings, networks: dict[str, Loaded]) -> Answer:
    """Loads the networks, and explains a drawn radiograph with each that takes pictures: what is slow once, is then.

    Returns:
        In its troubles a line for each network that cannot be loaded, as every study will be told, or that does not
        take the drawing, so that its first study will be slower.
    """
    from cfcam.imaging import Preprocess
    from cfcam.jobs.gateway.results import made

    troubles = []
    for name, network in settings.network.items():
        try:
            known = networks[name] = loaded(network)
        except Exception as error:  # noqa: BLE001 (a network may raise anything; its words may hold anything)
            why = str(error) if isinstance(error, CfcamError) else type(error).__name__
            troubles.append(f"network {name}: {why}")
            continue
        place = settings.spool.folder / "work" / secrets.token_hex(8)
        try:
            if isinstance(known.preprocess, Preprocess):
                made(*_drawn(name, settings, place), known.explainer, place, compare=lambda _current, _out: Compared())
        except Exception as error:  # noqa: BLE001 (a network need not take a drawing; studies go on all the same)
            troubles.append(f"network {name}: a drawn radiograph cannot be explained ({type(error).__name__})")
        shutil.rmtree(place, ignore_errors=True)
    return Answer(troubles=tuple(troubles))


def _drawn(network: str, settings: GatewaySettings, place: Path) -> tuple[Job, GatewaySettings]:
    """A radiograph of nobody, and settings by which its results lie apart, and no record is made of them."""
    from cfcam.jobs.cases.drawn_study import radiograph
    from cfcam.models.demo import make_phantom

    for folder in (place, place / "results"):
        folder.mkdir(mode=0o700)
    file = place / "drawn.dcm"
    drawn = radiograph(make_phantom(0, size=_DRAWN).image, 0.4, date(2026, 1, 1), "rehearsal")
    drawn.save_as(file, enforce_file_format=True)
    how = replace(settings.results, record=None, deidentify_key=None)
    apart = replace(settings, spool=replace(settings.spool, folder=place), results=how, fhir=None)
    return Job("rehearsal-0", network, (file,), volume=False), apart


def answered(
    job: Job,
    settings: GatewaySettings,
    networks: dict[str, Loaded],
    *,
    written: Callable[[Written], None] | None = None,
) -> Answer:
    """Explains a study, and never raises: what went wrong is the answer.

    Args:
        job: the study.
        settings: of the gateway.
        networks: that are loaded; more are added.
        written: told of each object that may go ahead of its study.
    """
    from cfcam.jobs.gateway.results import made

    place = settings.spool.folder / "work" / secrets.token_hex(8)
    try:
        place.mkdir(mode=0o700)
        if job.network not in networks:
            networks[job.network] = loaded(settings.network[job.network])
        known = networks[job.network]
        compare = partial(_prior, job, settings, known, place)
        with output_of(settings.spool.folder):
            return made(job, settings, known.explainer, place, compare=compare, written=written)
    except CfcamError as error:
        return Answer(reason=str(error), full=_is_full(error))
    except OSError as error:
        of_machine = "a machine that is needed to explain it cannot be reached"
        what = of_machine if _of_machine(error) else "the study cannot be read or written"
        return Answer(reason=f"{what} ({type(error).__name__})", full=_is_full(error))
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


def _of_machine(error: OSError) -> bool:
    """Whether an error is of another machine, and none of the disk."""
    return isinstance(error, _OF_MACHINES) or error.errno in _UNREACHED


def _prior(job: Job, settings: GatewaySettings, known: Loaded, place: Path, current: Path, out: Path) -> Compared:
    """Compares a study with the one before it, if that is asked for."""
    if settings.prior is None:
        return Compared()

    try:
        prior = find_prior(settings.prior, job.files[0], place / "prior", volume=job.volume)
    except CfcamError as error:
        return Compared(trouble=f"a prior study cannot be asked for: {error}")
    except OSError as error:  # whichever library raised it: the study itself can be explained
        if not _of_machine(error):
            raise
        return Compared(trouble=f"a prior study cannot be asked for: {settings.prior.place} ({type(error).__name__})")
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
