"""How much of a map lies in each organ, segment or superpixel: shares, signed contributions, what removal does.

All numbers are of the grid of the network's input: what the network did not see, it cannot have looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cfcam import csv_text
from cfcam.capture.layers.placement import Placement, upsampled
from cfcam.errors import InputError, check_called, shown, whole_number
from cfcam.maps.raw import Status, evidence_of, statuses_of
from cfcam.shown import counted

Fall = Callable[[Tensor], float | None]
"""A mask (*spatial) bool -> how far the score falls when the region is filled in; None: it cannot be told."""

_MOST = 4096  # regions; a label map with more is a picture that was taken for one


@dataclass(frozen=True)
class RegionShare:
    """What lies in one region; None where there is no number: in an empty region, of a map that cannot be read.

    Attributes:
        name: of the region.
        positions: pixels or voxels of the network's input in it.
        area: their share of the whole input, in [0, 1].
        share: of the map's positive evidence, in [0, 1].
        contribution: the signed map's sum in the region over the sum of its absolute values everywhere, in [-1, 1];
            None too where no value of the map is negative: the share says it all then.
        enrichment: share over area; 1 is chance.
        removal: how far the explained score (a logit) falls when the region is filled in from its surroundings;
            negative if it rises; None if nobody asked the network.
    """

    name: str
    positions: int
    area: float
    share: float | None
    contribution: float | None
    enrichment: float | None
    removal: float | None = None


@dataclass(frozen=True)
class RegionShares:
    """The regions of one map, in the order in which they were given.

    Attributes:
        regions: a row for each.
        method: that made the map.
        label: what the map explains.
        score: the explained score.
        status: of the map.
        outside: share of the positive evidence that lies in no region, in [0, 1]; None without positive evidence.
        overlapping: whether regions share positions; their shares may add up to more than 1 then.
    """

    regions: tuple[RegionShare, ...]
    method: str
    label: str
    score: float
    status: str
    outside: float | None
    overlapping: bool = False

    def __iter__(self) -> Iterator[RegionShare]:
        return iter(self.regions)

    def __len__(self) -> int:
        return len(self.regions)

    def __getitem__(self, name: str) -> RegionShare:
        """Returns the region of a name.

        Raises:
            InputError: there is none.
        """
        for region in self.regions:
            if region.name == name:
                return region
        raise InputError(f"no region {name!r} here: there are {', '.join(region.name for region in self.regions)}")

    def largest(self, count: int | None = None) -> list[RegionShare]:
        """Returns regions with a share, the largest first; all of them, or so many."""
        known = [region for region in self.regions if region.share is not None]
        return sorted(known, key=lambda region: -(region.share or 0.0))[:count]

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, as JSON takes them: no NaN, no tensors."""
        return asdict(self)

    def to_json(self) -> str:
        """Returns the table as JSON."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def to_csv(self) -> str:
        """Returns a line for each region; what has no number is empty."""
        columns = list(RegionShare.__dataclass_fields__)
        about = {"method": self.method, "label": self.label}
        return csv_text.table([*about, *columns], [{**about, **asdict(region)} for region in self.regions])


def region_shares(
    raw: Tensor,
    size: Sequence[int],
    masks: Any,
    *,
    placement: Placement | None = None,
    names: Mapping[int, str] | None = None,
    removal: Fall | None = None,
    method: str = "",
    label: str = "",
    score: float = math.nan,
) -> RegionShares:
    """Measures how much of a raw map lies in each region.

    Args:
        raw: (*layer_spatial), signed where the method is.
        size: *spatial of the network's input.
        masks: see `cfcam.Explanation.by_region`.
        placement: where the map's cells lie, see `cfcam.maps.heatmaps_of`.
        names: names of labels.
        removal: asks the network.
        method: for the table.
        label: for the table.
        score: for the table.

    Raises:
        InputError: a mask has another shape than the input, or is none.
    """
    found = read_regions(masks, tuple(size), names)
    if removal is not None:
        check_called(removal, "removal", "cfcam.clinical.removal.Removal(...), or a function from a mask to a number")
    maps = raw.detach().cpu().double()[None, None]
    status = statuses_of(maps)[0, 0]
    evidence, signed, total, whole = None, None, 0.0, 0.0
    if status == Status.OK:
        evidence = evidence_of(maps, size, placement)[0, 0]
        total = float(evidence.sum())
    if status != Status.NOT_FINITE and bool((maps < 0).any()):
        signed = upsampled(maps, size, placement)[0, 0]
        whole = float(signed.abs().sum())
    covered = torch.zeros(tuple(size), dtype=torch.int32)
    rows = []
    for name, mask in found.items():
        covered += mask
        positions = int(mask.sum())
        area = positions / mask.numel()
        share = float(evidence[mask].sum()) / total if evidence is not None and total and positions else None
        rows.append(
            RegionShare(
                name=name,
                positions=positions,
                area=area,
                share=share,
                contribution=float(signed[mask].sum()) / whole if signed is not None and whole and positions else None,
                enrichment=None if share is None else share / area,
                removal=None if removal is None or not positions else removal(mask),
            )
        )
    outside = float(evidence[covered == 0].sum()) / total if evidence is not None and total else None
    return RegionShares(tuple(rows), method, label, score, str(status), outside, bool((covered > 1).any()))


def shares_of(
    explanation: Any,
    method: str,
    maps: Tensor,
    which: tuple[int, int],
    masks: Any,
    *,
    names: Mapping[int, str] | None = None,
    removal: Fall | None = None,
) -> RegionShares:
    """Returns the shares of one map of a `cfcam.Explanation`; see its ``by_region``.

    Args:
        explanation: of N images and K targets.
        method: that made the maps.
        maps: (N, K, *layer_spatial), raw.
        which: image and target.
        masks: see there.
        names: see there.
        removal: see there.

    Raises:
        InputError: there is no such image or target, or a mask does not fit.
    """
    image, target = (whole_number(number, name) for number, name in zip(which, ("image", "target"), strict=True))
    count, columns = maps.shape[:2]
    if not (0 <= image < count and 0 <= target < columns):
        raise InputError(f"image {image}, target {target}: there are {count} and {columns}, counted from 0")
    return region_shares(
        maps[image, target],
        explanation.input_size,
        masks,
        placement=explanation.placements.get(method),
        names=names,
        removal=removal,
        method=method,
        label=explanation.label(image, target),
        score=float(explanation.scores[image, target]),
    )


def read_regions(masks: Any, size: tuple[int, ...], names: Mapping[int, str] | None = None) -> dict[str, Tensor]:
    """Returns name -> (*spatial) bool on the CPU, see `cfcam.Explanation.by_region`.

    Raises:
        InputError: a mask has another shape than the input, or is none.
    """
    if isinstance(masks, Mapping):
        if not masks:
            raise InputError(
                f"no regions: give a mask for each under its name, {{'liver': mask}}, or a label map {size}"
            )
        return {str(name): _mask(_fitting(mask, size, f"the mask {name!r}"), str(name)) for name, mask in masks.items()}
    if isinstance(masks, (list, tuple)) and (not masks or getattr(masks[0], "ndim", 0) == len(size)):
        several = f"a list of {counted(len(masks), 'mask')} without names" if masks else "no regions"
        raise InputError(f"{several}: give a mask for each under its name, {{'liver': mask}}, or a label map {size}")
    if names is not None and not isinstance(names, Mapping):
        raise InputError(f"names is {shown(names)}: give a mapping from labels to names, such as {{1: 'liver'}}")
    labels = _fitting(masks, size, "the label map")
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f"a label map of {labels.dtype}: give whole numbers, 0 where there is no region")
    by_label = {whole_number(label, "names: a label", 0): str(name) for label, name in (names or {}).items()}
    named = {label: name for label, name in by_label.items() if label}
    present = [int(label) for label in labels.unique().tolist() if label]
    if len(present) > _MOST:
        raise InputError(f"a label map with {len(present)} labels, more than {_MOST}: is it a picture?")
    called = named | {label: f"region {label}" for label in present if label not in named}
    if not called:
        raise InputError("the label map is 0 everywhere: there is no region in it")
    if len(set(called.values())) < len(called):
        raise InputError("two labels have one name: give each its own")
    return {called[label]: labels == label for label in sorted(called)}


def _fitting(values: Any, size: tuple[int, ...], what: str) -> Tensor:
    try:
        tensor = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    except (TypeError, ValueError) as error:  # numpy's and torch's own words differ from kind to kind
        raise InputError(
            f"{what} is {shown(values)}, which holds no numbers: give an array or a tensor {size}, one number a place"
        ) from error
    if tuple(tensor.shape) != size:
        raise InputError(
            f"{what} has the shape {tuple(tensor.shape)} and the network's input {size}: bring it onto the input's grid"
            " (Preprocess.mask)"
        )
    return tensor


def _mask(values: Tensor, name: str) -> Tensor:
    if values.dtype is not torch.bool and not bool(((values == 0) | (values == 1)).all()):
        raise InputError(f"the mask {name!r} has other values than 0 and 1: give it as bool, or labels without names")
    return values.bool()
