"""Clinical correlation: is the zone that the report names the one where the map has most of its energy?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cfcam import csv_text
from cfcam.clinical.checks import without_mask, zone_agreement
from cfcam.clinical.checks.results import CheckResult, Limits
from cfcam.errors import InputError, few
from cfcam.imaging import Image, Volume
from cfcam.jobs.inputs.masks import RegionMasks

_TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class Zones:
    """The zones of an organ, and what tells which of them an image's report names.

    Attributes:
        masks: name of a zone -> its masks.
        reported: image -> the zone that its report names; None: none.
    """

    masks: Mapping[str, RegionMasks]
    reported: Callable[[Path], str | None]

    @classmethod
    def of(cls, given: Sequence[str], reported: str) -> Zones:
        """Reads ``NAME=MASKS`` texts, and a zone for all images or a table with the columns image and zone.

        Raises:
            InputError: a text is no such pair, there are fewer than two zones, or the table is wrong.
        """
        masks = {}
        for text in given:
            name, _, where = (part.strip() for part in text.partition("="))
            if not (name and where) or name in masks:
                raise InputError(
                    f"--zone {text!r}: give a name and its masks, such as upper=masks/{{stem}}_upper.png; each name"
                    " once"
                )
            masks[name] = RegionMasks("zone", where)
        if len(masks) < 2:
            raise InputError("--zone: give two zones or more; with a single one there is nothing to compare")
        return cls(masks, _reported(reported))

    def check(
        self, file: Path, image: Image | Volume, heatmap: Tensor, limits: Limits, *, several: bool
    ) -> list[CheckResult]:
        """Checks one image's map; see `cfcam.clinical.checks.map_checks.zone_agreement`.

        Args:
            file: the image's file or folder.
            image: as it was read.
            heatmap: (*spatial) on its grid.
            limits: of the site.
            several: whether there are other images.
        """
        named = self.reported(file)
        if named is None:
            return without_mask("zone", "no zone is reported for this image")
        regions = {name: masks.read(file, image, several=several) for name, masks in self.masks.items()}
        empty = [name for name, region in regions.items() if region.reason]
        if empty:
            return without_mask("zone", f"zone {empty[0]}: {regions[empty[0]].reason}")
        return [zone_agreement(heatmap, {n: r.mask for n, r in regions.items()}, named, limits=limits)]


def _reported(given: str) -> Callable[[Path], str | None]:
    table = Path(given)
    if table.suffix.lower() not in _TABLES:
        return lambda image: given
    shown, separator = f"--reported {table.name}", "\t" if table.suffix.lower() == ".tsv" else ","
    columns, rows = csv_text.rows_of(csv_text.read_text(table, shown=shown), shown, separator=separator)
    if not {"image", "zone"} <= set(columns):
        raise InputError(f"--reported {table.name}: has the columns {few(columns, 8)}; it needs image and zone")
    zones = {row["image"]: row["zone"] for row in rows if row["zone"]}
    return lambda image: zones.get(image.name, zones.get(image.stem))
