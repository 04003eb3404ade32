"""How much of each map lies in the organs, segments or superpixels of its input, and what their removal does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cfcam.clinical.checks.labels import read_labels
from cfcam.clinical.removal import Removal
from cfcam.errors import CfcamError, InputError
from cfcam.explanation import Explanation, unique_columns
from cfcam.imaging import Image, Volume, superpixels
from cfcam.jobs.engine.inference import Engine
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.masks import mask_files
from cfcam.jobs.inputs.privacy import without_stem
from cfcam.jobs.study.checks import to_input
from cfcam.jobs.study.settings import state_of
from cfcam.maps import RegionShares

SLIC = "slic:"
"""What a number of superpixels is told by, in the place of a file."""


@dataclass(frozen=True)
class RegionSettings:
    """In which regions each map is measured.

    Attributes:
        where: a label map, a folder of those, or a pattern with ``{stem}``, see `mask_files`; or "slic:50", about so
            many superpixels of what the network sees.
        names: names of labels.
    """

    where: str
    names: tuple[tuple[int, str], ...] = ()

    @cached_property
    def superpixels(self) -> int | None:
        """How many superpixels are asked for; None: regions come from files.

        Raises:
            InputError: that is no number.
        """
        if not self.where.startswith(SLIC):
            return None
        count = self.where.removeprefix(SLIC)
        if not (count.isascii() and count.isdigit() and 2 <= int(count) <= 4096):
            raise InputError(f"--by-region {self.where}: give a number of superpixels from 2 to 4096, such as slic:50")
        return int(count)

    def drawn(self) -> dict[str, Any]:
        """Returns what changes the numbers; of files a SHA-256 that changes with them."""
        state = self.where if self.superpixels else state_of(self.where)
        return {"where": state, "names": [list(pair) for pair in self.names]}


class ByRegion(NamedTuple):
    """What was measured of an input.

    Attributes:
        shares: (method, column of the targets) -> its table.
        notices: what a user should know, a line each.
        masks: name -> (*spatial) bool, on the grid of the network's input.
    """

    shares: Mapping[tuple[str, int], RegionShares]
    notices: tuple[str, ...] = ()
    masks: Mapping[str, Tensor] = {}


def by_region(
    how: RegionSettings,
    engine: Engine,
    preprocess: Any,
    image: Image | Volume,
    x: Tensor,
    explanation: Explanation,
    given: Input,
    *,
    several: bool,
) -> ByRegion:
    """Measures the maps of an input in its regions, on the grid of the network's input.

    Args:
        how: which regions.
        engine: what explained it.
        preprocess: the way from the input to the network.
        image: as it was read.
        x: (C, *spatial), as the network saw it.
        explanation: of this one.
        given: the input.
        several: whether the run has others, so that one picture cannot hold the regions of all.

    Raises:
        InputError: the regions do not fit the input, or cannot be read.
    """
    try:
        masks, notices = _masks(how, preprocess, image, x, given.path, several=several)
    except CfcamError as error:
        raise InputError(without_stem(str(error), given)) from None
    if not masks:
        return ByRegion({}, tuple(without_stem(line, given) for line in notices))
    of_classes = bool((explanation.targets >= 0).all())
    asked = explanation.targets if of_classes else engine.targets
    falls = Removal(engine.explainer, x[None], asked, windows=engine.windows).of_regions(masks)
    shares = {}
    for method in explanation.methods:
        for k in unique_columns(explanation):
            table = explanation.by_region(masks, method, target=k)
            rows = (replace(row, removal=falls[row.name][k]) for row in table)
            shares[method, k] = replace(table, regions=tuple(rows))
    return ByRegion(shares, tuple(without_stem(line, given) for line in notices), masks)


def rows_of(found: ByRegion, k: int) -> dict[str, list[dict[str, Any]]]:
    """Returns method -> the plain rows of a target, for the manifest."""
    return {method: table.as_dict()["regions"] for (method, column), table in found.shares.items() if column == k}


def _masks(
    how: RegionSettings, preprocess: Any, image: Image | Volume, x: Tensor, path: Path, *, several: bool
) -> tuple[dict[str, Tensor], list[str]]:
    if how.superpixels is not None:
        labels = superpixels(x, how.superpixels)
        return {f"superpixel {n}": mask for n, mask in _numbered(labels)}, []
    forth = to_input(preprocess, image)
    found: dict[str, Tensor] = {}
    files = mask_files(how.where, path, several=several)
    for file in files:
        regions = read_labels(file, image, dict(how.names))
        if both := [name for name in regions if name in found]:
            raise InputError(f"the region {both[0]!r} stands in two files, of which one is {file.name}: name each once")
        found |= regions
    masks = {name: forth(mask) for name, mask in found.items()}
    unseen = [name for name, mask in masks.items() if bool(found[name].any()) and not bool(mask.any())]
    notices = [] if files else [f"no regions for --by-region were found for {path.name}"]
    if unseen:
        notices.append(f"not on the grid of the network's input, and so without a number: {', '.join(unseen[:5])}")
    return masks, notices


def _numbered(labels: Any) -> Iterator[tuple[int, Tensor]]:
    whole = torch.from_numpy(labels)
    return ((n, whole == n) for n in whole.unique().tolist())
