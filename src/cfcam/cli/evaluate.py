"""``cfcam evaluate``: pictures or volumes in, a scorecard of the maps out."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.arguments.read import WINDOWS, read_window, read_words
from cfcam.cli.command import Checked
from cfcam.cli.options import complete
from cfcam.cli.options.cluster import Spread
from cfcam.cli.options.network import DEMOS, Layer, Model
from cfcam.cli.options.question import chosen_methods
from cfcam.cli.options.volumes import PicturesOrVolumes, VolumeReading
from cfcam.cli.output.console import EXIT_FAILED, error, hint, print_json, warn
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cfcam.jobs.evaluate.cases import Loadable
    from cfcam.jobs.evaluate.run import EvaluationRun
    from cfcam.jobs.evaluate.settings import EvaluationSettings
    from cfcam.models import LoadedModel

DEFAULT_METHODS = "cf-cam,grad-cam"
DEMO, DEMO_PHANTOMS = "demo", 16
PROTOCOL = "cfcam-paper"
EXPLAINED = ("predicted", "label")
_WHAT_TO_GIVE = (
    "nothing to evaluate: give a folder of pictures or volumes, or a CSV file with the columns image, label, mask or"
    " boxes, patient, group, and the network with --model; to see what comes out, try: cfcam evaluate demo"
)


def _methods(names: str) -> None:
    words.methods(read_words("--methods", names))


@dataclass(frozen=True, kw_only=True)
class Evaluate(Spread, VolumeReading, PicturesOrVolumes, Layer):
    """Measure what maps are worth: faithfulness, localisation, robustness, sanity, cost, beside maps that know nothing.

    DATA is a folder (sub-folders called like classes give labels, masks/NAME.png or NAME_mask.png the ground truth) or
    a CSV file with the columns image, label, mask or boxes, patient, group, of which only image has to be there, or
    tars of samples (01.jpg with its label 01.cls and its mask 01.mask.png).
    For a network that takes volumes they are NIfTI files or folders of DICOM slices, and masks are NIfTI files, laid
    over the volume by their place in the patient. Without --size and --spacing each volume keeps its own voxels.
    Written are index.html to read, per_image.csv, summary.md, summary.csv, comparison.csv, curves.csv,
    scorecard.json and figures.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam evaluate demo --limit 16                (drawn phantoms, demo network, a minute)

    cfcam evaluate scans/ -m networks.py:my_net --classes names.txt --methods cf-cam,score-cam

    cfcam evaluate cases.csv -m networks.py:my_net --metrics faithfulness,hit-rate --limit 200 --seed 1

    cfcam evaluate cases.csv -m networks.py:my_net --baselines blur,mean,noise

    cfcam evaluate cases.csv -m networks.py:my_net --metrics all --methods all -o scorecard/

    cfcam evaluate volumes/ -m nets3d.py:my_net --spacing 1 --size 96 --intensity unit

cases.csv, paths relative to it, boxes in pixels as [x0, y0, x1, y1]:

    image,label,mask,boxes,patient,group

    a.png,nodule,masks/a.png,,P1,Basel

    b.png,nodule,,"[[30, 23, 195, 182]]",P2,Lyon

A run that was stopped goes on where it was when the same command is given again.

Exit codes: 0 all done · 1 some pictures failed · 2 wrong usage · 130 interrupted.
"""
    everyday: ClassVar[str] = (
        "model weights classes layer size mean std device methods metrics explained limit output overwrite quiet"
    )
    panel: ClassVar[Panel | None] = Panel.MEASURED
    goes_on: ClassVar[bool] = True

    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A folder of pictures or volumes, a CSV file, tars, a URL (s3://), or demo.",
            show_default=False,
        ),
        Checked(places.data_anywhere),
    ] = None
    model: Model = None
    window: Annotated[
        str | None,
        typer.Option(metavar="NAME|C,W", help=f"Grey window to clip to: {', '.join(WINDOWS)}, or centre and width."),
        Checked(read_window),
    ] = None
    methods: Annotated[
        str,
        typer.Option(
            metavar="A,B|all",
            help="Methods; see cfcam methods.",
            autocompletion=complete.several(complete.method),
        ),
        Checked(_methods),
    ] = DEFAULT_METHODS
    metrics: Annotated[
        str,
        typer.Option(
            metavar="A,B|quick|all",
            help="Metrics, or groups of them such as faithfulness; see cfcam metrics.",
            autocompletion=complete.several(complete.metric),
        ),
        Checked(words.metrics),
    ] = "quick"
    baselines: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Measure insertion, deletion, Average Drop and its kin with each of these in place of what is removed,"
            " and show how far it decides: blur, mean, black, noise.",
            autocompletion=complete.several(complete.of("blur", "mean", "black", "noise")),
        ),
        Checked(words.baselines),
    ] = None
    controls: Annotated[
        bool,
        typer.Option(
            "--controls/--no-controls",
            help="Measure maps that know nothing beside: without them no number means anything.",
        ),
    ] = True
    explained: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="predicted|label",
            help="Which class the maps explain. [default: predicted; label for the phantoms]",
            autocompletion=complete.of(*EXPLAINED),
            show_default=False,
        ),
        Checked(words.one_of("--explain", EXPLAINED)),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="0..1",
            help="Where maps are cut for iou-tuned, lesion-coverage and false-components; tune it on other images.",
        ),
        Checked(words.share("from", "from 0 to 1, the maximum of a map")),
    ] = None
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar=PROTOCOL,
            help="Measure by the published protocol of CF-CAM instead; the page says what is wrong with it.",
            autocompletion=complete.of(PROTOCOL),
        ),
        Checked(words.one_of("--protocol", (PROTOCOL,))),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Take N pictures or volumes at random.", rich_help_panel=Panel.RUN),
    ] = None
    seed: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Of the choice of pictures, and of all noise.", rich_help_panel=Panel.RUN
        ),
    ] = 0
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Pictures in one pass of the network. [default: 8; 1 for volumes]",
            rich_help_panel=Panel.RUN,
            show_default=False,
        ),
    ] = None
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write into.", rich_help_panel=Panel.RUN),
        Checked(places.folder),
    ] = Path("evaluation")
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew instead of going on.", rich_help_panel=Panel.RUN)
    ] = False

    def __post_init__(self) -> None:
        """Looks for data and a network, and for what cannot be measured together."""
        super().__post_init__()
        if self.data is None and self.model not in DEMOS:
            raise InputError(_WHAT_TO_GIVE)
        if self.model is None and not self.of_phantoms:
            raise InputError(f"no network is named for {self.data}: give it with --model, as for cfcam explain")
        if self.protocol is not None and self.metrics != "quick":
            raise InputError(f"--protocol {self.protocol} brings its own metrics: leave --metrics out")
        if self.protocol is not None and self.baselines is not None:
            raise InputError(f"--protocol {self.protocol} brings its own baselines: leave --baselines out")
        if self.protocol is not None and self.explained == "label":
            raise InputError(f"--protocol {self.protocol} explains the predicted class: leave --explain label out")
        if self.threshold is None and "iou-tuned" in read_words("--metrics", self.metrics):
            raise InputError("iou-tuned needs a threshold: give --threshold, tuned on other images than these")

    @property
    def of_phantoms(self) -> bool:
        """Whether drawn phantoms are measured instead of data of the user's own."""
        return self.data is None or (self.data == DEMO and (self.model is None or not Path(self.data).exists()))

    def __call__(self) -> None:
        """Measures, writes the scorecard, and shows what it says."""
        settings = self._settings()
        settings.check()  # before the network is loaded, which may take long
        loaded = self.load()

        from cfcam.files import own_output
        from cfcam.jobs.inputs.shard import part_of

        with own_output(self.output, part=part_of(self.share)), ExitStack() as until:  # from the first row to the page
            self._measure(loaded, settings, self.measure(until))

    def _measure(self, loaded: LoadedModel, settings: EvaluationSettings, how: dict[str, Any]) -> None:
        notes: list[str] = []
        run = self._run(loaded, settings, notes, how)
        run.notes += notes

        from cfcam.cli.output import evaluation as said

        if not self.silent:
            for note in loaded.notes:
                warn(note)
            for note in run.notes[len(loaded.notes) :]:
                hint(note)
        if self.share is not None:
            self._share(run)
            return
        card = said.follow(run, quiet=self.quiet, log=self.log())
        if not card.rows:
            why = f"none of {len(card.failed)} {run.kind}s could be evaluated"
            if (log := self.log()) is not None:
                log.error("failed", task="evaluating", error=why)
            else:
                said.show_failures(card)
                error(why)
            raise typer.Exit(EXIT_FAILED)
        findings, files = said.write(run, card, quiet=self.silent)
        if self.as_json:
            print_json(said.summary(files))
        elif not self.silent:
            said.show(findings, files)
        if not self.log_json:
            said.show_failures(card)
        if card.failed:
            raise typer.Exit(EXIT_FAILED)

    def _share(self, run: EvaluationRun) -> None:
        from cfcam.cli.output import evaluation as said

        progress = said.follow_share(run, quiet=self.quiet, log=self.log())
        if self.as_json:
            print_json({"shard": self.shard, **progress.numbers()})
        elif not self.silent:
            said.show_share(run, progress)
        if progress.failed:
            raise typer.Exit(EXIT_FAILED)

    def _settings(self) -> EvaluationSettings:
        from cfcam.jobs.evaluate.settings import EvaluationSettings

        names = read_words("--methods", self.methods)
        of_labels = self.explained == "label" or (self.explained is None and self.of_phantoms and not self.protocol)
        return EvaluationSettings(
            methods=chosen_methods(names),
            metrics=self._metrics(),
            controls=self.controls,
            explained="label" if of_labels else "predicted",
            protocol=self.protocol,
            layer=self.layer,
            threshold=self.threshold,
            limit=self.limit,
            seed=self.seed,
            batch_size=self.batch_size,
            overwrite=self.overwrite,
            leave_out="all" in names,
            data="drawn chest phantoms" if self.of_phantoms else str(self.data),
            command=tuple(sys.argv),
            shard=self.share,
        )

    def _metrics(self) -> tuple[str, ...]:
        names = read_words("--metrics", self.metrics)
        if self.baselines is None:
            return names
        from cfcam.metrics.scorecard.catalogue import with_baselines

        return with_baselines(names, read_words("--baselines", self.baselines))

    def _run(
        self, loaded: LoadedModel, settings: EvaluationSettings, notes: list[str], how: dict[str, Any]
    ) -> EvaluationRun:
        """The run that the network asks for, over pictures or over volumes; ``notes`` is told of what is not used."""
        from cfcam.jobs.cases.phantoms import phantom_cases
        from cfcam.jobs.cases.volumes import are_volumes, find_picture_cases, find_volume_cases
        from cfcam.jobs.evaluate.run import EvaluationRun
        from cfcam.jobs.evaluate.volumes import VolumeEvaluationRun
        from cfcam.metrics.scorecard.catalogue import resolve_metrics
        from cfcam.models.expects import takes_volumes

        data = None if self.of_phantoms else self.data
        if data is None and takes_volumes(loaded.module):
            raise InputError("the phantoms are pictures, and the network takes volumes: name a folder or a CSV file")
        if data is not None and are_volumes(loaded.module, data):
            preprocess = self.prepared_volumes(loaded)
            volumes = find_volume_cases(
                data, loaded.classes, output=self.output, how=self.reading(), notice=notes.append
            )
            settings = replace(settings, preprocess=preprocess)
            return VolumeEvaluationRun(loaded, volumes, settings, self.output, **how)
        if given := self.given(Panel.VOLUMES):
            raise InputError(f"--{given[0]} is for volumes, and the network takes pictures")
        cases: Sequence[Loadable]
        if data is None:
            parts = "part-removal" in resolve_metrics(settings.metrics)
            cases = phantom_cases(self.limit or DEMO_PHANTOMS, self.seed, parts=parts)
        else:
            cases = find_picture_cases(data, loaded.classes, output=self.output, notice=notes.append)
        settings = replace(settings, preprocess=self.prepared_pictures(loaded))
        return EvaluationRun(loaded, cases, settings, self.output, **how)
