"""What a folder run does to every picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from cfcam.errors import InputError
from cfcam.imaging import Preprocess, VolumePreprocess
from cfcam.imaging.drawing.formats import SMALLEST, check_format
from cfcam.imaging.drawing.look import OPACITY, Look
from cfcam.imaging.drawing.palettes import EMBER
from cfcam.imaging.windows import named_window
from cfcam.jobs.engine.inference import DEFAULT_METHODS
from cfcam.jobs.index.settings import PageSettings
from cfcam.jobs.inputs.shard import Shard
from cfcam.jobs.runs.further import Further
from cfcam.jobs.store.layout import FORMAT
from cfcam.jobs.study.regions import RegionSettings
from cfcam.jobs.study.settings import StudySettings
from cfcam.methods import named_methods
from cfcam.methods.base import Method


class Save(StrEnum):
    """What is written for each picture."""

    OVERLAY = "overlay"
    SHEET = "sheet"
    MAPS = "maps"


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    Attributes:
        output: the folder into which everything is written, and outside of which nothing is.
        methods: names, instances, or a mapping from your own names to these.
        targets: class indices, class names, "predicted", "all", "top-3".
        classes: absolute path of each input -> the class that is explained of it, in place of ``targets``.
        layer: dotted name of the layer to map; None: chosen automatically.
        preprocess: what is done to a picture (or volume) before the network sees it; None: what is known of the
            model, else `Preprocess()` (`VolumePreprocess()`).
        palette: name of a palette.
        opacity: share of the map in an overlay where the map is 1, in [0, 1].
        blend: what it follows: "value" (the map), "uniform" (the same everywhere), "contour" (an outline alone).
        save: what is written.
        format: of overlays and sheets, one of `cfcam.imaging.drawing.formats.FORMATS`.
        max_size: longer side of overlays in pixels, at most; None: as large as they are. Sheets and maps keep theirs.
        batch_size: pictures in one pass of the network; halved as often as the memory asks for it.
        max_pixels: larger pictures are refused.
        window: of DICOM pictures: centre and width, or a name of `cfcam.imaging.WINDOWS`; None: their own.
        overwrite: explain again what is already done.
        verify: whether what is already done still holds is told by the hashes of inputs and files, rather than by their
            sizes and times (`cfcam.files.stamp_of`) where these were entered.
        leave_out: leave out, with a note, methods that do not apply to the network, instead of refusing the
            run.
        command: what the user typed, for the provenance.
        study: what is made of each input as of a study; None: nothing beside its pictures and maps.
        regions: in which regions each map is measured; None: in none.
        further: writes a further file of each input; None: there is none.
        page: what is asked for of the page that shows all pictures; None: no page.
        shard: which share of the inputs is worked on, where several machines or processes write into one folder; the
            page and one manifest of all are made by a run of the whole at the end. None: all inputs.
        store: the output folder is one store of all maps, see `cfcam.open_store`, and nothing is drawn.
    """

    output: Path = Path("output")
    methods: tuple[str | Method, ...] | Mapping[str, str | Method] = DEFAULT_METHODS
    targets: tuple[int | str, ...] = ("predicted",)
    classes: Mapping[str, int] | None = None
    layer: str | None = None
    preprocess: Preprocess | VolumePreprocess | None = None
    palette: str = EMBER
    opacity: float = OPACITY
    blend: str = "value"
    save: frozenset[Save] = field(default_factory=lambda: frozenset({Save.OVERLAY, Save.SHEET}))
    format: str = "png"
    max_size: int | None = None
    batch_size: int = 8
    max_pixels: int = 64_000_000
    window: str | tuple[float, float] | None = None
    overwrite: bool = False
    verify: bool = False
    leave_out: bool = False
    command: tuple[str, ...] = ()
    study: StudySettings | None = None
    regions: RegionSettings | None = None
    further: Further | None = None
    page: PageSettings | None = None
    shard: Shard | None = None
    store: bool = False

    def check(self) -> None:
        """Checks what can be checked without a network.

        Raises:
            CfcamError: a method or palette is unknown, or a number out of its range.
        """
        named_methods(self.methods)
        Look(self.palette, self.opacity, self.blend).check()
        check_format(self.format)
        if self.max_size is not None and self.max_size < SMALLEST:
            raise InputError(f"the longer side of pictures is to be {self.max_size} pixels: give {SMALLEST} or more")
        named_window(self.window)
        if self.batch_size < 1:
            raise InputError(f"the batch size is {self.batch_size}: give 1 or more")
        if self.max_pixels < 1:
            raise InputError(f"the largest picture is {self.max_pixels} pixels: give 1 or more")
        if not self.save:
            raise InputError(f"nothing is to be saved: give one or more of {', '.join(Save)}")
        if not self.targets:
            raise InputError('there is no target: give a class, or "predicted"')
        if self.study is not None:
            self.study.check()
        if self.store and any(one is not None for one in (self.study, self.regions, self.further, self.page)):
            raise InputError(
                "a store holds maps and scores alone: leave out what is asked for of studies, regions and pages"
            )
        if self.store and self.overwrite and self.shard is not None:
            raise InputError(f"shard {self.shard} cannot begin the whole store anew: remove {self.output} instead")

    @property
    def option(self) -> str:
        """What would name another output."""
        return "--store" if self.store else "--output folder"

    @property
    def asks_again(self) -> bool:
        """Whether an input asks the network once more while its files are made: the next waits for it then."""
        return self.study is not None or self.regions is not None

    def scale_of(self, size: Sequence[int]) -> float:
        """Returns the scale at which an overlay over a picture of this size is written, up to 1."""
        return 1.0 if self.max_size is None else min(1.0, self.max_size / max(size))

    def look(self) -> dict[str, Any]:
        """Returns how maps are drawn: palette, opacity and blend."""
        return {"palette": self.palette, "opacity": self.opacity, "blend": self.blend}

    def drawn(self) -> dict[str, Any]:
        """Returns the values that change the files, apart from the network and its methods."""
        asked = list(self.targets) if self.classes is None else sorted(self.classes.items())
        if self.store:
            return {
                "targets": asked,
                **({} if self.window is None else {"window": self.window}),
                "store": FORMAT,
            }
        return {
            "targets": asked,
            **self.look(),
            "save": sorted(self.save),
            **({} if self.format == "png" else {"format": self.format}),
            **({} if self.max_size is None else {"max_size": self.max_size}),
            **({} if self.window is None else {"window": self.window}),
            **({} if self.study is None else {"study": self.study.drawn()}),
            **({} if self.regions is None else {"regions": self.regions.drawn()}),
            **({} if self.further is None else {"further": self.further.described()}),
        }
