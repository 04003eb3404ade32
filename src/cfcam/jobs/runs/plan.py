"""What a run is to do: under which names, into which folder, by which settings, and what is done already."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cfcam.errors import InputError, JobError
from cfcam.files import check_inside, make_output, output_of
from cfcam.jobs.index.glance import FOLDER as SMALL_PICTURES
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.many import Inputs
from cfcam.jobs.inputs.marks import hashes
from cfcam.jobs.inputs.naming import Names
from cfcam.jobs.inputs.places import may_be_there, refuse_studies
from cfcam.jobs.inputs.privacy import comes_from_dicom, with_labels
from cfcam.jobs.inputs.run_file import NAME, begin, finish
from cfcam.jobs.inputs.shard import Shard, content_path, part_of
from cfcam.jobs.runs.manifest import FILE_NAME, Manifest, Record, State
from cfcam.jobs.study.settings import StudySettings
from cfcam.urls import shown_url

PROVENANCE = NAME


def named(inputs: Sequence[Input], study: StudySettings | None) -> Inputs:
    """Returns the inputs; of studies those that are DICOM with neutral names, for their own may be the patient's.

    Raises:
        InputError: DICOM objects are asked for, and none of the inputs is DICOM.
    """
    if study is None:
        return Inputs.of(inputs)
    refuse_studies(source.path for source in inputs)
    if study.dicom and not any(map(comes_from_dicom, inputs)):
        raise InputError(
            "--dicom: none of the inputs is DICOM, so that there is nothing to refer to: give DICOM files or a"
            " folder of slices; maps of NIfTI are written as NIfTI, of pictures as PNG"
        )
    return Inputs.of(inputs if study.keep_names else with_labels(inputs))


@dataclass(frozen=True)
class Plan:
    """The inputs of a run, and what its output folder says of them.

    Attributes:
        inputs: from `named`.
        output: the folder into which everything is written.
        settings: SHA-256 over everything that changes the pictures.
        overwrite: explain again what is already done.
        shard: which share of the inputs is taken; None: all.
        option: what would name another output.
    """

    inputs: Sequence[Input]
    output: Path
    settings: str
    overwrite: bool = False
    shard: Shard | None = None
    option: str = "--output folder"

    def takes(self, source: Input) -> bool:
        """Tells whether an input is among those that are taken."""
        return self.shard is None or self.shard.takes(content_path(source))

    def count(self) -> int:
        """Returns how many inputs are taken."""
        return len(self.inputs) if self.shard is None else sum(map(self.takes, self.inputs))

    def make_folder(self) -> None:
        """Makes the output folder and tries to write into it.

        Raises:
            JobError: it cannot be written into, or is the inputs' own.
        """
        inputs = Inputs.of(self.inputs)
        places = {os.path.realpath(self.output / folder) for folder in inputs.folders}
        holders = {os.path.realpath(holder) for holder in inputs.holders()}
        if both := sorted(places & holders):
            raise JobError(f"{both[0]} holds input pictures and would be written into: choose another {self.option}")
        make_output(self.output, part=part_of(self.shard), option=self.option)
        with output_of(self.output):  # what a link leads to is no output: before anything is computed for it
            for folder in (SMALL_PICTURES, *map(str, inputs.folders)):
                check_inside(self.output / folder, JobError)

    def names(self, manifest: Manifest) -> Sequence[str]:
        """Returns what the names of each input's files begin with; an input that the manifest knows keeps its name."""
        inputs = Inputs.of(self.inputs)
        lines, others = manifest.names_of(hashes(inputs.keys()))
        taken = [name for key, name in others.items() if may_be_there(key)]
        names = Names.of(inputs, {}, taken)
        entered = [n for n in np.flatnonzero(lines >= 0).tolist() if n not in inputs.labels]
        if all(manifest.name_of(int(lines[n]), names[n]) in (names[n], None) for n in entered):
            return names
        known = {n: name for n in entered if (name := manifest.name_of(int(lines[n]), names[n])) is not None}
        return Names.of(inputs, known, taken)  # other inputs have come since; else what is done, or was done by which
        # shard, has no say in what the rest is called

    def others(self, manifest: Manifest) -> tuple[int, list[str]]:
        """Looks for inputs that the manifest knows, under the same settings, and that are none of this run's.

        Returns:
            How many are done; and those that failed, of which there is nothing, and which nobody asks for any more.
        """
        strangers = manifest.strangers(hashes(Inputs.of(self.inputs).keys()))
        states = {record.input: record.status for record in strangers if record.settings == self.settings}
        gone = sorted(source for source, state in states.items() if state is State.FAILED)
        return len(states) - len(gone), gone

    def known(self, name: str, manifest: Manifest) -> Record | None:
        """Returns what was entered of an input that may be done, to be verified; None if it must be explained.

        Args:
            name: what the names of its files begin with.
            manifest: of the output folder.
        """
        return None if self.overwrite else manifest.find(name, self.settings)

    def enter(
        self,
        meaning: Mapping[str, Any],
        made_by: Mapping[str, Any],
        *,
        command: Sequence[str],
        notes: Sequence[str],
        earlier: int = 0,
        others: tuple[int, Sequence[str]] = (0, ()),
    ) -> None:
        """Enters the settings in ``run.json``, under the hash by which the manifest's lines refer to them.

        Args:
            meaning: what the hash is of, from `cfcam.jobs.engine.meaning`.
            made_by: see there.
            command: what the user typed.
            notes: what the user was told so far.
            earlier: how many inputs the manifest knows already.
            others: of them, see `others`.
        """
        entry = {
            "settings": meaning,
            "command": [shown_url(word) if "://" in word else word for word in command],
            "inputs": self.count(),
            "earlier": earlier,
            "others": others[0],
            **({"gone": list(others[1])} if others[1] else {}),
            **({} if self.shard is None else {"shard": str(self.shard), "of_inputs": len(self.inputs)}),
            "versions": {key: made_by[key] for key in ("cfcam", "torch", "python")},
            "machine": {
                "device": made_by["device"],
                "system": platform.platform(),
                "processors": os.cpu_count(),
            },
            "notes": list(notes),
        }
        begin(self.output, FILE_NAME, self.settings, entry, self.shard)

    def finish(self, values: Mapping[str, Any]) -> None:
        """Enters how the run ended."""
        finish(self.output, FILE_NAME, self.settings, values, self.shard)
