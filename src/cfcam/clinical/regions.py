"""Numbers of regions: how large, where, and how much of the map; the page, the report and the SR all show these.

A region is what the map marks at a threshold, or a mask of the user's. The numbers describe the map, which explains the
model: a region is not a lesion, and its area is not a lesion's.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from cfcam import csv_text
from cfcam.clinical.checks.peak_stability import PeakStability
from cfcam.clinical.region_rule import read_rule
from cfcam.errors import InputError
from cfcam.imaging.geometry import cell_size, check_affine
from cfcam.imaging.measured import Measured, measured_in
from cfcam.metrics.functional.ground_truth import check_ground_truth
from cfcam.metrics.functional.heatmaps import read_heatmaps
from cfcam.metrics.functional.localization import otsu_threshold

Point = tuple[float, ...]
_AT_ONCE = 1 << 18  # positions
_UNITS = {(2, True): "mm²", (3, True): "mm³", (2, False): "pixels", (3, False): "voxels"}
_HEADINGS = ("region", "size", "largest part", "parts", "peak", "centroid", "mean", "SD", "max", "energy share")


@dataclass(frozen=True)
class Region:
    """One region, as plain numbers.

    Attributes:
        name: of the mask, or what the threshold was.
        size: area or volume of the region, in ``unit``; 0 for an empty region.
        unit: "mm²" or "mm³"; "pixels" or "voxels" where the spacing is unknown.
        count: positions in the region.
        components: connected parts; positions that touch by a corner are connected.
        largest: area or volume of the largest of them, in ``unit``.
        peak: index (row, column) or (slice, row, column) of the region's largest value; of equal ones the first. It is
            no more exact than a cell of the layer, and often moves by one: see ``RegionTable.stability``.
        peak_mm: that position in mm from the centre of the first pixel, along the array's axes; None without spacing.
        peak_patient: (x, y, z) of the peak in the patient in mm, RAS+; None without an affine.
        centroid: centre of the region's shape (not weighted by the map), as an index with fractions.
        centroid_mm: the same in mm, as ``peak_mm``.
        centroid_patient: the same in the patient, as ``peak_patient``.
        mean: of the map in the region, in [0, 1]; None for an empty region.
        sd: standard deviation over the region's positions (divided by n); None for an empty region.
        maximum: of the map in the region.
        energy: share of the map's sum that lies in the region, in [0, 1]; None if the map is 0 everywhere.
    """

    name: str
    size: float
    unit: str
    count: int
    components: int
    largest: float
    peak: tuple[int, ...] | None
    peak_mm: Point | None
    peak_patient: Point | None
    centroid: Point | None
    centroid_mm: Point | None
    centroid_patient: Point | None
    mean: float | None
    sd: float | None
    maximum: float | None
    energy: float | None


@dataclass(frozen=True)
class RegionTable:
    """The regions of one map.

    Attributes:
        regions: the thresholded region first, then the masks in their order.
        rule: how the threshold was chosen: "otsu", "0.5" or "quantile:0.9".
        threshold: its value; None if the map has no positive evidence.
        unit: of all sizes.
        spacing: mm between positions along the axes; None if unknown.
        stability: of the map's peak under small motions (`cfcam.clinical.checks.peak_stability`); None: not measured.
        left_out: positions of which the source held no finite number: no region has them.
        left_out_energy: share of the map's sum that lies there, in [0, 1]; None if the map is 0 everywhere.
        measured: where the millimetres of a radiograph are measured, such as "at the detector"; None: in the patient,
            or nothing is known of it.
    """

    regions: tuple[Region, ...]
    rule: str
    threshold: float | None
    unit: str
    spacing: Point | None
    stability: PeakStability | None = None
    left_out: int = 0
    left_out_energy: float | None = 0.0
    measured: Measured | None = None

    def __iter__(self) -> Any:
        return iter(self.regions)

    def __getitem__(self, name: str) -> Region:
        """Returns the region of a name.

        Raises:
            InputError: there is none.
        """
        for region in self.regions:
            if region.name == name:
                return region
        known = ", ".join(region.name for region in self.regions)
        raise InputError(f"no region {name!r} in this table: it has {known}")

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, as JSON takes them: no NaN, no tensors."""
        return asdict(self)

    def to_json(self) -> str:
        """Returns the table as JSON."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def to_csv(self) -> str:
        """Returns one line for each region; the numbers of a position are separated by spaces, unknown is empty.

        ``peak_stayed`` of ``peak_motions`` small motions left the map's peak where it is; empty: not measured.
        ``measured`` says where mm are measured, such as "at the detector".
        """
        file = io.StringIO()
        writer = csv_text.Writer(file)
        fields = [name for name in Region.__dataclass_fields__ if name != "unit"]
        steady = self.stability
        writer.write([*fields, "unit", "measured", "threshold", "rule", "peak_stayed", "peak_motions"])
        for region in self.regions:
            cells = [_cell(getattr(region, name)) for name in fields]
            counts = ("", "") if steady is None else (steady.stayed, steady.motions)
            writer.write([*cells, region.unit, self.measured or "", _cell(self.threshold), self.rule, *counts])
        return file.getvalue()

    def to_text(self) -> str:
        """Returns a table for people, with its units; positions in the patient where they are known, else in mm."""
        rows = [list(_HEADINGS), *(_shown(region) for region in self.regions)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        peak = "stability not measured" if self.stability is None else str(self.stability)
        sizes = f"sizes in {measured_in(self.unit, self.measured)}; threshold {_number(self.threshold)} ({self.rule})"
        return "\n".join(
            [
                *lines,
                *([self.left_out_line()] if self.left_out else []),
                f"{sizes}; positions {self._where()}; peak of the map: {peak}",
            ]
        )

    def left_out_line(self) -> str:
        """Returns in a line what was left out, and how much of the map lay there."""
        return (
            f"{self.left_out} positions without a finite number in the source are in no region; of the map's sum"
            f" {_number(self.left_out_energy)} lies there"
        )

    def _where(self) -> str:
        if any(region.peak_patient for region in self.regions):
            return "in mm in the patient (RAS+)"
        if self.spacing is None:
            return "in pixels (no spacing known)"
        return f"in {measured_in('mm', self.measured)} from the first pixel"


def measure(
    heatmap: Tensor,
    spacing: Sequence[float] | None = None,
    threshold: str | float = "otsu",
    masks: Mapping[str, Tensor] | None = None,
    *,
    affine: ArrayLike | None = None,
    missing: ArrayLike | None = None,
    measured: Measured | None = None,
) -> RegionTable:
    """Measures what a map marks, and the regions of masks.

    Args:
        heatmap: (H, W) or (D, H, W) in [0, 1], on the grid of the picture (not of the network's input): sizes are
            counted in its pixels.
        spacing: mm between positions along each axis; None: unknown, then sizes are in pixels or voxels. With an affine
            and no spacing the affine's is taken.
        threshold: "otsu" (`otsu_threshold`), a number in (0, 1], or "quantile:Q" with Q in (0, 1): the value that a
            share Q of the positions does not exceed. A position is marked from the threshold on, and never where the
            map is 0.
        masks: name -> (*spatial) bool or 0 and one other value, as `check_ground_truth` takes them; an empty mask
            gives an empty region.
        affine: 4 x 4, from an index to mm in the patient, RAS+ (`cfcam.imaging.geometry`); for a picture from
            (row, column, 0, 1). Sizes follow from it, also where its axes are not at right angles.
        missing: (*spatial) bool, where the source held no finite number (`Volume.missing`): left out of all regions,
            of their numbers and of the threshold.
        measured: where millimetres are measured, for what is told of them: that of the picture (`Image.measured`).

    Returns:
        The table; the thresholded region comes first, named "map". A map without positive evidence, or one that is not
        finite, marks nothing and has no threshold.

    Raises:
        InputError: the map, spacing, threshold or a mask do not fit.
        ImageError: the affine is broken or singular.

    Example:
        >>> heatmap = torch.tensor([[0.0, 0.5], [0.0, 1.0]])
        >>> region = measure(heatmap, (2.0, 3.0), 0.5)["map"]
        >>> region.size, region.unit, region.peak, region.peak_mm, region.energy
        (12.0, 'mm²', (1, 1), (2.0, 3.0), 1.0)
    """
    axes = heatmap.ndim
    if axes not in (2, 3):
        raise InputError(f"a map of shape {tuple(heatmap.shape)}: give one map, (H, W) or (D, H, W)")
    heat = read_heatmaps(heatmap[None]).reshape(heatmap.shape)
    matrix = None if affine is None else torch.from_numpy(np.array(check_affine(affine, "regions")))
    steps = _spacing(spacing, matrix, axes)
    cell = 1.0 if steps is None else math.prod(steps) if matrix is None else cell_size(matrix.numpy(), axes)
    out = None if missing is None else _left_out(missing, heat)
    left_out_energy = 0.0 if float(heat.max()) > 0 else None
    if out is not None:
        if left_out_energy is not None:
            left_out_energy = float(heat[out].double().sum() / heat.double().sum())
        heat = torch.where(out, 0, heat)
    level = threshold_value(heat if out is None else heat[~out], threshold)
    marked = torch.zeros_like(heat, dtype=torch.bool) if level is None else heat >= level
    if level == 0:
        marked &= heat > 0
    given = {"map": marked}
    for name, mask in (masks or {}).items():
        if name in given:
            raise InputError(f"a mask called {name!r}: that is the name of the thresholded map, give it another")
        given[name] = check_ground_truth(mask, heatmap.shape).reshape(heatmap.shape).to(heat.device)
    if out is not None:
        given = {name: mask & ~out for name, mask in given.items()}
    regions = tuple(_region(name, mask, heat, steps, matrix, cell) for name, mask in given.items())
    left_out = 0 if out is None else int(out.sum())
    unit = _UNITS[axes, steps is not None]
    told = measured if steps is not None else None
    return RegionTable(
        regions, str(threshold), level, unit, steps, left_out=left_out, left_out_energy=left_out_energy, measured=told
    )


def threshold_value(heat: Tensor, threshold: str | float) -> float | None:
    """Returns the number that a rule gives for a map (*spatial) in [0, 1]; None if the map is 0 everywhere.

    Args:
        heat: the map, finite.
        threshold: see `measure`.

    Raises:
        InputError: an unknown rule, or a number out of its range.
    """
    rule, number = read_rule(threshold)
    if rule == "quantile":
        # torch.quantile refuses more than 2**24 values, and a volume may have them
        value = float(heat.flatten().sort().values[math.ceil(number * heat.numel()) - 1])
    else:
        value = float(otsu_threshold(heat[None])[0]) if rule == "otsu" else number
    return value if float(heat.max()) > 0 else None


def _left_out(missing: ArrayLike, heat: Tensor) -> Tensor:
    out = torch.from_numpy(np.array(missing, dtype=bool)).to(heat.device)
    if out.shape != heat.shape or bool(out.all()):
        raise InputError(f"missing of shape {tuple(out.shape)} for a map of {tuple(heat.shape)}: give it, not all True")
    return out


def _spacing(spacing: Sequence[float] | None, matrix: Tensor | None, axes: int) -> Point | None:
    if spacing is None:
        return None if matrix is None else tuple(matrix[:3, :axes].norm(dim=0).tolist())
    steps = tuple(float(step) for step in spacing)
    if len(steps) != axes or not all(math.isfinite(step) and step > 0 for step in steps):
        raise InputError(f"a spacing of {steps} mm for a map with {axes} axes: give {axes} numbers above 0")
    return steps


# By hand: scikit-image 0.26.0's regionprops, only in an extra, gives these numbers in 1.2 to 1.3 x the time, no peak.
def _region(name: str, mask: Tensor, heat: Tensor, steps: Point | None, matrix: Tensor | None, cell: float) -> Region:
    unit = _UNITS[heat.ndim, steps is not None]
    inside, values = mask.cpu().numpy(), heat.cpu().numpy()
    count = int(np.count_nonzero(inside))
    total = math.fsum(float(part.sum(dtype=np.float64)) for part in _blocks(values))
    if not count:
        return _empty(name, unit, 0.0 if total > 0 else None)
    box = _box(inside)  # outside of it is nothing to look at
    inside, values = inside[box], values[box]
    energy, maximum, found = _sum_and_peak(values, inside)
    mean = energy / count
    spread = math.fsum(_squares(part[there], mean) for part, there in _parts_of(values, inside))
    peak = tuple(place + side.start for place, side in zip(found, box, strict=True))
    centroid = tuple(
        float(np.dot(along, np.arange(side.start, side.stop))) / count
        for along, side in zip(map(partial(_along, inside), range(inside.ndim)), box, strict=True)
    )
    labels, parts = _parts(inside)
    largest = count
    if parts > 1:
        sizes = np.zeros(parts + 1, dtype=np.int64)
        for part in labels:
            sizes += np.bincount(part.ravel(), minlength=parts + 1)
        largest = int(sizes[1:].max())
    return Region(
        name=name,
        size=count * cell,
        unit=unit,
        count=count,
        components=parts,
        largest=float(largest * cell),
        peak=peak,
        peak_mm=_scaled(peak, steps),
        peak_patient=_placed(peak, matrix),
        centroid=centroid,
        centroid_mm=_scaled(centroid, steps),
        centroid_patient=_placed(centroid, matrix),
        mean=mean,
        sd=math.sqrt(spread / count),
        maximum=maximum,
        energy=energy / total if total > 0 else None,
    )


def _parts(inside: NDArray[np.bool_]) -> tuple[NDArray[Any], int]:
    """Numbers the parts of a mask that touch, also by their corners; of few parts in half of the memory."""
    touching = np.ones((3,) * inside.ndim, dtype=bool)
    labels = np.empty(inside.shape, dtype=np.uint16)
    try:
        return labels, int(ndimage.label(inside, touching, labels))
    except RuntimeError:  # there are more than 65535
        del labels
        found, count = ndimage.label(inside, touching)
        return found, int(count)


def _blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yields an array part by part along its first axis: a copy of a part is small, and rows are not gone through."""
    step = max(1, _AT_ONCE // max(1, values[:1].size))
    return (values[start : start + step] for start in range(0, len(values), step))


def _parts_of(values: NDArray[Any], inside: NDArray[np.bool_]) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Yields the parts of a map, as `_blocks` does, in which a mask has something."""
    return ((p, there) for p, there in zip(_blocks(values), _blocks(inside), strict=True) if there.any())


def _sum_and_peak(values: NDArray[Any], inside: NDArray[np.bool_]) -> tuple[float, float, tuple[int, ...]]:
    """The sum of what is inside of a mask, the greatest value there, and its index; of several the first."""
    sums, best, place, start = [], -math.inf, (0,) * values.ndim, 0
    for part, there in zip(_blocks(values), _blocks(inside), strict=True):
        found = part[there]
        if found.size:
            sums.append(float(found.sum(dtype=np.float64)))
            first = int(found.argmax())
            if float(found[first]) > best:
                best = float(found[first])
                index = np.unravel_index(int(np.flatnonzero(there)[first]), part.shape)
                place = (start + int(index[0]), *map(int, index[1:]))
        start += len(part)
    return math.fsum(sums), best, place


def _squares(found: NDArray[Any], mean: float) -> float:
    """The sum of the squared distances from a mean."""
    apart = found.astype(np.float64)
    apart -= mean
    apart *= apart
    return float(apart.sum())


def _along(inside: NDArray[np.bool_], axis: int) -> NDArray[np.int64]:
    """How much of a mask there is at each place of an axis."""
    counts: NDArray[np.int64] = np.count_nonzero(inside, axis=tuple(n for n in range(inside.ndim) if n != axis))
    return counts


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box (*spatial) that holds all of a mask, which is not empty."""
    found = []
    for axis in range(mask.ndim):
        there = np.flatnonzero(mask.any(axis=tuple(n for n in range(mask.ndim) if n != axis)))
        found.append(slice(int(there[0]), int(there[-1]) + 1))
    return tuple(found)


def _empty(name: str, unit: str, energy: float | None) -> Region:
    return Region(
        name=name,
        size=0.0,
        unit=unit,
        count=0,
        components=0,
        largest=0.0,
        peak=None,
        peak_mm=None,
        peak_patient=None,
        centroid=None,
        centroid_mm=None,
        centroid_patient=None,
        mean=None,
        sd=None,
        maximum=None,
        energy=energy,
    )


def _scaled(index: Point, steps: Point | None) -> Point | None:
    return None if steps is None else tuple(i * step for i, step in zip(index, steps, strict=True))


def _placed(index: Point, matrix: Tensor | None) -> Point | None:
    if matrix is None:
        return None
    padded = [*index, *[0.0] * (3 - len(index)), 1.0]
    return tuple((matrix @ torch.tensor(padded, dtype=torch.float64))[:3].tolist())


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{number:.6g}" for number in value)
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _shown(region: Region) -> list[str]:
    peak = region.peak_patient or region.peak_mm or region.peak
    centroid = region.centroid_patient or region.centroid_mm or region.centroid
    return [
        region.name,
        f"{region.size:.6g}",
        f"{region.largest:.6g}",
        str(region.components),
        *(("-" if place is None else ", ".join(f"{x:.1f}" for x in place)) for place in (peak, centroid)),
        *map(_number, (region.mean, region.sd, region.maximum, region.energy)),
    ]
