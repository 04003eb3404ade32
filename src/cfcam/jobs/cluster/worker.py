"""What runs on each machine: a job, unpacked once, that does part after part."""

from __future__ import annotations

import hmac
import os
import pickle
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cfcam.errors import CfcamError, DiskError, JobError, LinkError, describe_first
from cfcam.files import make_folder, output_of
from cfcam.jobs.cluster.journal import FOLDER, Journal
from cfcam.jobs.cluster.part import Answer, Ended, Part
from cfcam.stages import Stages

_SIGN = "here"


class Job(Protocol):
    """What workers do: one network, and what is asked of it; pickled once, and sent to each."""

    @property
    def notes(self) -> list[str]:
        """What the user should know; more may be added with each part."""

    @property
    def light(self) -> bool:
        """Whether its parts take milliseconds for each thing in them."""

    def __call__(self, part: Part, begin: Callable[[str], None], stages: Stages) -> Iterator[Ended]:
        """Does the items of a part, and yields each at its end.

        Args:
            part: what is to be done.
            begin: is told of each item that is done alone.
            stages: takes down where the time goes.

        Raises:
            CfcamError: nothing can be done, for a reason that lies in the set-up.
        """


@dataclass(frozen=True)
class Place:
    """Where a run works: the same folder on every machine.

    Attributes:
        folder: in which the user typed the command; relative paths begin there.
        output: the output folder.
        word: what stands in a file of it, as proof that a worker sees the same folder and not one of its own.
        cores: of a worker.
    """

    folder: Path
    output: Path
    word: str
    cores: int = 1

    @classmethod
    def made(cls, output: Path, cores: int) -> Place:
        """Makes the folder of the journals, and leaves the sign there.

        Raises:
            DiskError: it cannot be written.
        """
        place = cls(Path.cwd(), output, secrets.token_hex(16), cores)
        try:
            make_folder(output / FOLDER, 0o700)
            (output / FOLDER / _SIGN).write_text(place.word, encoding="ascii")
        except OSError as cause:
            raise DiskError(output, cause) from cause
        return place

    @property
    def run(self) -> str:
        """What the journals of this run are told apart by."""
        return self.word[:8]

    def journal(self, part: Part) -> Journal:
        """Returns the journal of the attempt at a part that is due."""
        return Journal(self.output, part.id, self.run, part.attempt)

    def journals(self, part: Part) -> list[Journal]:
        """Returns the journals of all attempts at a part."""
        return [Journal(self.output, part.id, self.run, attempt) for attempt in range(part.attempt + 1)]

    def enter(self) -> None:
        """Makes this process work there.

        Raises:
            JobError: this machine does not see the folder.
        """
        try:
            os.chdir(self.folder)
            word = (self.output / FOLDER / _SIGN).read_text(encoding="ascii")
        except (OSError, ValueError):
            word = ""
        if not hmac.compare_digest(word, self.word):
            raise JobError(
                "a machine of the cluster does not see the folders of this run: inputs and output must be on a file"
                " system that every machine has at the same place"
            )

    def leave(self, *, whole: bool) -> None:
        """Removes the sign; and all journals, if everything that they tell is entered."""
        if whole:
            shutil.rmtree(self.output / FOLDER, ignore_errors=True)
        else:
            (self.output / FOLDER / _SIGN).unlink(missing_ok=True)


class Worker:
    """Does parts. A call that raises would be Ray's to tell: errors are answers here.

    Attributes:
        light: see `Job.light`, once it has started.
    """

    light = False

    def __init__(self) -> None:
        self._held = ExitStack()  # what holds as long as this process lives; what nobody keeps ends at once

    def start(self, job: bytes, place: Place, lost: Callable[[], str] = str) -> str:
        """Loads the network; returns why it cannot, one line, "" if it could.

        Args:
            job: a pickled `Job`.
            place: where it works.
            lost: says why it may write there no more; "": it may.
        """
        try:
            import torch

            from cfcam.capture.state.process import same_folder

            torch.set_num_threads(place.cores)
            place.enter()
            self._held.enter_context(output_of(place.output, lost))
            self._place = place
            with same_folder():  # which relative paths of the run begin in
                self._job: Job = pickle.loads(job)  # noqa: S301 (from the run that asked for this worker)
        except CfcamError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 (a library of this machine may raise anything)
            return f"a worker cannot be set up ({describe_first(error)}): install the same on every machine"
        self._told, self.light = len(self._job.notes), self._job.light
        return ""

    def run(self, part: Part) -> Answer:
        """Does a part; each item is entered in the part's journal when it is at its end."""
        ended: list[Ended] = []
        stages = Stages()
        try:
            with self._place.journal(part) as journal:
                for one in self._job(part, journal.begin, stages):
                    if one.name:
                        journal.end(one.name, one.line)
                    ended.append(one)
        except LinkError as error:
            return Answer(link=error.name)
        except DiskError as error:
            return Answer(disk=error.reason)
        except CfcamError as error:
            return Answer(error=str(error))
        notes, self._told = tuple(self._job.notes[self._told :]), len(self._job.notes)
        return Answer(tuple(ended), notes, stages=stages.seconds)
