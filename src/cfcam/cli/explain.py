"""``cfcam explain``: pictures and volumes in, heat maps out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TextIO

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.arguments.read import check_words, read_channels, read_window
from cfcam.cli.command import Checked
from cfcam.cli.options import complete
from cfcam.cli.options.cluster import Spread
from cfcam.cli.options.network import DEMOS
from cfcam.cli.options.question import chosen_methods
from cfcam.cli.options.regions import ByRegion
from cfcam.cli.options.study import Study, without_secrets
from cfcam.cli.options.texts import Texts, check_asked, tell
from cfcam.cli.options.together import check_together
from cfcam.cli.options.unchanged import left_by, note_of, watched
from cfcam.cli.options.volumes import PicturesOrVolumes, Sliding
from cfcam.cli.output.console import EXIT_FAILED, hint, print_json, prints_to_stderr, warn
from cfcam.cli.output.panels import Panel
from cfcam.cli.output.unchanged import show_unchanged
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.jobs import FolderRun, Input, PageSettings, Settings, StudySettings
    from cfcam.jobs.runs.further import Further
    from cfcam.models import LoadedModel

DEFAULT_FOLDER = Path("testimgs")
# Known here without importing torch; a test keeps them equal to those of a run.
DEFAULT_METHODS = ("cf-cam", "grad-cam", "grad-cam++")
# Known here without importing numpy; a test keeps it equal to what the run takes.
SAVES = ("overlay", "sheet", "maps")
# Likewise equal to cfcam.imaging.drawing.look.Look and its SEEDS.
PALETTE, OPACITY, BLEND = LOOK = ("ember", 0.5, "value")
PRESETS = {"seeds": ("jet", 0.4, "uniform")}
# Likewise equal to cfcam.jobs.index.embedded.MOST.
MOST_IN_ONE_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Explain(Spread, Study, Sliding, ByRegion, PicturesOrVolumes, Texts):
    """Show what a network looked at in each picture or volume, as heat maps over it.

    Files are named PICTURE_METHOD.png and PICTURE_sheet.png; with several classes the class is added. Of a volume the
    map is written as NIfTI too, on the volume's own grid. With an option for studies each input becomes one: its DICOM
    objects, tables, report and record hold the same numbers, and DICOM files are called study-1a2b3c4d there.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam explain                    (testimgs/ -> output/, demo network)

    cfcam explain scans/ -r -o maps/ -m networks.py:my_net --classes names.txt

    cfcam explain cat.jpg -m torchvision:resnet50@DEFAULT --target tabby

    cfcam explain "xray/*.png" -m hf:my-model --method score-cam --layer layer3

    cfcam explain chest.png -m hf:my-model --prompt "is there an effusion?"

    cfcam explain chest.png -m detector.py:net --layer model.backbone --target box-1

    cfcam explain scans/ -m networks.py:my_net --mean 0.5 --std 0.25 --save maps

    cfcam explain "shards/train-{000..012}.tar" s3://bucket/scans/ -m networks.py:my_net

Boxes of a detector, in pixels of the picture: box-1 (the most probable, box-2 the next), "mass in box-1" (another
class there), boxes-0.5 (all of a probability of 0.5 or more), "box at 40,60" (the nearest to a point x,y, of 0.5 or
more), "box at 10,20,60,80" and "mass at 10,20,60,80" (corners x0,y0,x1,y1 of one that was found), "no mass at
10,20,60,80" (what speaks against one there).

Of a tar, such as WebDataset writes, the pictures are read at their place. What opens an object store stands in the
environment, never in the URL.

A run that was stopped goes on where it was when the same command is given again.

Exit codes: 0 all done · 1 some pictures failed · 2 wrong usage · 130 interrupted.
"""
    everyday: ClassVar[str] = (
        "model weights classes layer size mean std device prompt method target by_region save output recursive quiet"
    )
    panel: ClassVar[Panel | None] = Panel.PICTURES
    goes_on: ClassVar[bool] = True

    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATHS",
            help="Pictures, volumes, folders, globs, lists (CSV, Parquet), tars, URLs (s3://). [default: testimgs]",
            path_type=str,
            show_default=False,
        ),
        Checked(places.anywhere),
    ] = None
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"Method, or all; repeatable; see cfcam methods. [default: {', '.join(DEFAULT_METHODS)}]",
            autocompletion=complete.method,
            show_default=False,
        ),
        Checked(words.methods_of_anything),
    ] = None
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="Index, name, predicted, top-3 or all; repeatable; or a CSV file (file,label). Of a detector box-1,"
            " boxes-0.5 or others of those below. [default: predicted]",
            autocompletion=complete.asked,
            show_default=False,
        ),
        Checked(words.targets_or_table),
    ] = None
    palette: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Colours: ember (more evidence always shows more), inferno, viridis, jet or any other of matplotlib's"
            " (not always).",
            autocompletion=complete.of(*words.PALETTES),
        ),
        Checked(words.palette),
    ] = PALETTE
    opacity: Annotated[
        float,
        typer.Option(metavar="0..1", help="Share of the map in an overlay, where the map is highest."),
        Checked(words.opacity),
    ] = OPACITY
    blend: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="What the opacity follows: value (clear where the map is 0), uniform, or contour (an outline alone).",
            autocompletion=complete.of(*words.BLENDS),
        ),
        Checked(words.one_of("--blend", words.BLENDS)),
    ] = BLEND
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="seeds: 40 % jet over 60 % picture everywhere, as the project's first documents draw.",
            autocompletion=complete.of(*PRESETS),
        ),
        Checked(words.one_of("--preset", tuple(PRESETS))),
    ] = None
    save: Annotated[
        str,
        typer.Option(metavar="A,B", help="What to write: overlay, sheet, maps."),
        Checked(words.some_of("--save", SAVES)),
    ] = "overlay,sheet"
    format: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Write pictures as png, jpg, webp, svg or pdf. jpg keeps folders of photographs small.",
            autocompletion=complete.of(*words.PICTURE_FORMATS),
        ),
        Checked(words.picture_format),
    ] = "png"
    max_size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", help="Shrink larger overlays to this longer side; sheets, maps and numbers stay."
        ),
        Checked(words.picture_size),
    ] = None
    html: Annotated[
        bool,
        typer.Option(
            "--html", help="Write each picture with its maps as one page too, which needs no server: up to 128 MB."
        ),
    ] = False
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write into."),
        Checked(places.folder),
    ] = Path("output")
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Write maps and scores into one Zarr store, such as maps.zarr, and no pictures: for very many inputs.",
        ),
        Checked(places.store),
    ] = None
    index: Annotated[
        bool | None,
        typer.Option(
            "--index/--no-index",
            help="Write index.html, which shows all pictures. [default: of more than one]",
            show_default=False,
        ),
    ] = None
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="CSV|folders",
            help="True classes for index.html: a CSV file (image,label), or folders called like classes.",
        ),
        Checked(places.labels),
    ] = None
    self_contained: Annotated[
        bool, typer.Option("--self-contained", help="Let index.html hold its pictures itself, to be sent alone.")
    ] = False
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Search sub-folders too.", rich_help_panel=Panel.RUN)
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Explain again what is already done.", rich_help_panel=Panel.RUN)
    ] = False
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Tell what is done already by the content of all files, rather than by their sizes and times.",
            rich_help_panel=Panel.RUN,
        ),
    ] = False
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Take the first N pictures only.", rich_help_panel=Panel.RUN)
    ] = None
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pictures in one pass of the network.", rich_help_panel=Panel.RUN)
    ] = 8
    max_megapixels: Annotated[
        float,
        typer.Option(metavar="N", help="Refuse larger pictures.", rich_help_panel=Panel.RUN),
        Checked(words.megapixels),
    ] = 64

    def __post_init__(self) -> None:
        """Looks at options that exclude each other, at named classes, and at whether the audit may be where it is."""
        super().__post_init__()
        check_asked(self)
        check_together(self, LOOK)

    def __call__(self) -> None:
        """Explains one input after the other, and says what became of them."""
        with prints_to_stderr(self.as_json) as stdout, ExitStack() as until:
            self._explain(stdout, until)

    def _explain(self, stdout: TextIO, until: ExitStack) -> None:
        if self.prompt is not None:
            tell(self, places.sources(self.paths, DEFAULT_FOLDER), stdout)
            return
        study = self.study()
        files = read_channels(self.channels)
        sources = list(files[:1]) or places.sources(self.paths, DEFAULT_FOLDER)
        unchanged = None if files else note_of(self, sources)
        if unchanged is not None and (count := unchanged.inputs()) is not None:
            show_unchanged(count, self.store or self.output, quiet=self.silent, log=self.log())
            return
        how = self.flow(until)

        from cfcam.jobs import is_volume_run
        from cfcam.jobs.inputs.many import Inputs

        inputs = Inputs.found(sources, output=self.store or self.output, recursive=self.recursive)
        if not inputs:
            raise InputError(f"there is nothing to explain: all pictures found lie in the output folder {self.output}")
        settings = self._settings(study, sources)
        settings.check()  # before the network is loaded, which may take long
        with watched(unchanged) as read:
            loaded = self.load()
        if is_volume_run(loaded.module, inputs):
            inputs = Inputs.of(self.reading().of(loaded).studies(inputs))
        if self.limit is not None:
            inputs = inputs[: self.limit]
        if study is not None and self.ensemble:
            study = replace(study, ensemble=tuple(self.load(weights=str(path)) for path in self.ensemble))
        if not self.silent:
            for note in loaded.notes:
                warn(note)
            if self.paths and self.spec in DEMOS:
                hint("the demo network knows drawn phantoms only; for pictures of your own name a network with --model")
        settings = replace(
            settings, study=study, page=self._page(inputs, loaded), classes=self._classes(inputs, loaded)
        )
        run = self._run(loaded, inputs, settings, how | left_by(self, unchanged, read))
        self._follow(run, list(loaded.notes), stdout)

    def _classes(self, inputs: Sequence[Input], loaded: LoadedModel) -> Mapping[str, int] | None:
        from cfcam.jobs.index.labels import read_targets

        table = words.table_of(self.target)
        return None if table is None else read_targets(table, inputs, loaded.classes)

    def _page(self, inputs: Sequence[Input], loaded: LoadedModel) -> PageSettings | None:
        """What is asked for of the page of all pictures; None where there is to be none."""
        from cfcam.jobs import PageSettings, read_labels

        if self.store is not None:
            return None
        asked = self.index or self.labels is not None or self.self_contained
        if not asked and (self.index is False or len(inputs) < 2):
            return None
        if self.self_contained and len(inputs) > MOST_IN_ONE_PAGE:
            raise InputError(
                f"--self-contained puts all {len(inputs)} pictures into one page, which may hold {MOST_IN_ONE_PAGE}:"
                " leave it out, or give --limit"
            )
        labels = None if self.labels is None else read_labels(self.labels, inputs, loaded.classes)
        if labels is not None and not self.silent:
            for note in labels.notes():
                hint(note)
        return PageSettings(labels, self_contained=self.self_contained)

    def _settings(self, study: StudySettings | None, sources: list[Path]) -> Settings:
        from cfcam.jobs import Save, Settings

        palette, opacity, blend = PRESETS.get(self.preset or "", (self.palette, self.opacity, self.blend))
        return Settings(
            output=self.store or self.output,
            store=self.store is not None,
            methods=chosen_methods(self.method or DEFAULT_METHODS),
            targets=words.asked(self.target),
            layer=self.layer,
            palette=palette,
            opacity=opacity,
            blend=blend,
            save=frozenset(map(Save, check_words("--save", self.save, SAVES))),
            format=self.format,
            max_size=self.max_size,
            batch_size=self.batch_size,
            max_pixels=int(self.max_megapixels * 1e6),
            window=read_window(self.window),
            overwrite=self.overwrite,
            verify=self.verify,
            shard=self.share,
            leave_out="all" in (self.method or ()),
            command=_typed(study, sources, self.output, self.regions_typed),
            study=study,
            regions=self.regions_asked(),
            further=self._pages(palette, opacity, blend) if self.html else None,
        )

    def _pages(self, palette: str, opacity: float, blend: str) -> Further:
        from cfcam.imaging.drawing.look import Look
        from cfcam.models.spec import model_name
        from cfcam.web.offline import OfflinePages

        return OfflinePages(model_name(self.spec), Look(palette, opacity, blend))

    def _run(self, loaded: LoadedModel, inputs: Sequence[Input], settings: Settings, how: dict[str, Any]) -> FolderRun:
        """The run that the network asks for: over pictures or over volumes."""
        from cfcam.jobs import FolderRun, VolumeRun, is_volume_run

        if is_volume_run(loaded.module, inputs):
            settings = replace(settings, preprocess=self.prepared_volumes(loaded))
            return VolumeRun(loaded, inputs, settings, self.reading(), **how)
        settings = replace(settings, preprocess=self.prepared_pictures(loaded))
        return FolderRun(loaded, inputs, settings, **how)

    def _follow(self, run: FolderRun, notes: list[str], stdout: TextIO) -> None:
        from cfcam.cli.output import run as said

        tally = said.follow(run, quiet=self.quiet, log=self.log(), keep=self.as_json)
        if self.as_json:
            print_json(said.summary(tally, run, notes), stdout)
        elif not self.silent:
            said.show_table(tally, run)
            said.show_preparation(tally, run)
        if not self.log_json:
            said.show_failures(tally)
        if not (self.silent or self.as_json):
            said.show_summary(tally, run)
            said.show_disclaimer()
        if tally.count("failed"):
            raise typer.Exit(EXIT_FAILED)


def _typed(study: StudySettings | None, sources: list[Path], output: Path, masks: list[str]) -> tuple[str, ...]:
    if study is None or (study.keep_names and study.record is None):
        return tuple(sys.argv)
    return without_secrets(sys.argv, sources, output, study, masks)
