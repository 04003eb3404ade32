"""``cfcam doctor``: what is wrong with a setup, in plain words, and what to change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.arguments.read import read_target, read_volume_size
from cfcam.cli.command import Checked
from cfcam.cli.options.question import Question, method_option, target_option
from cfcam.cli.options.run import Run
from cfcam.cli.options.volumes import Modalities, PicturesOrVolumes
from cfcam.cli.output.console import EXIT_FAILED, hint, out, plain, print_json, warn

if TYPE_CHECKING:
    from torch import Tensor

    from cfcam.diagnosis.findings import Diagnosis, Finding
    from cfcam.imaging import Preprocess, VolumePreprocess
    from cfcam.models import LoadedModel

_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}
_MOST_PICTURES = 32


@dataclass(frozen=True, kw_only=True)
class Doctor(Run, Modalities, PicturesOrVolumes, Question):
    """Check a setup, and explain in plain words what is wrong with it and what to change.

    About ten passes of the network, more where nobody states size or resizing. Give some of your own pictures:
    normalisation, size and evidence cannot be judged on made-up noise.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam doctor --model networks.py:my_net --weights best.pt

    cfcam doctor scans/a.png scans/b.png -m networks.py:my_net --mean 0.5 --std 0.25 --classes names.txt

    cfcam doctor scan_0000.nii.gz -m nnunet:nnUNetTrainer__nnUNetPlans__3d_fullres

    cfcam doctor scans/ -m hf:my-model --json | jq '.findings[] | select(.severity == "problem")'

Exit codes: 0 no problem · 1 a problem · 2 wrong usage.
"""

    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE...]", help="A few of your pictures, or a volume. [default: made-up noise]"),
        Checked(places.inputs),
    ] = None
    target: Annotated[
        str, target_option("Index, name, predicted, top-3 or all."), Checked(words.one_or_more_targets)
    ] = "predicted"
    method: Annotated[str, method_option("Method whose maps are looked at."), Checked(words.method)] = "grad-cam"

    def __call__(self) -> None:
        """Diagnoses, and shows what was found, the worst first."""
        from cfcam.diagnosis.run import diagnose

        loaded = self.load()
        x, preprocess, files = self._input(loaded)
        wanted = read_target(self.target)
        found = diagnose(
            loaded.module,
            x,
            layer=self.layer,
            targets=None if wanted == "predicted" else wanted,
            classes=loaded.classes,
            probability=loaded.probability,
            output=loaded.output,
            method=self.method,
            preprocess=preprocess,
            files=files,
            brought="" if loaded.preparation is None else loaded.preparation.by,
        )
        if self.as_json:
            print_json({"spec": loaded.spec, "notes": list(loaded.notes), **found.as_dict()})
        else:
            _show(found, loaded.notes)
        if not found.ok:
            raise typer.Exit(EXIT_FAILED)

    def _input(self, loaded: LoadedModel) -> tuple[Tensor | None, Preprocess | VolumePreprocess | None, list[Path]]:
        """The prepared pictures or volume, None without any; what prepared them, and the files of pictures."""
        import torch

        from cfcam.imaging import list_images
        from cfcam.jobs.inputs.find import find_study
        from cfcam.jobs.inputs.preparing import shape_of_pictures
        from cfcam.jobs.inputs.reading import load_picture
        from cfcam.models.expects import takes_volumes

        if takes_volumes(loaded.module):
            return (*self._volume(loaded), [])
        self.refuse_modalities()
        if not self.images:
            return None, shape_of_pictures(loaded, self.size_of_pictures()), []
        preprocess = self.prepared_pictures(loaded)
        files = list_images(self.images)
        spread = files[:: math.ceil(len(files) / _MOST_PICTURES)]  # folders are often in the order of the classes
        return torch.stack([preprocess(load_picture(find_study(path))) for path in spread]), preprocess, spread

    def _volume(self, loaded: LoadedModel) -> tuple[Tensor | None, VolumePreprocess]:
        from cfcam.jobs.inputs.probing import probes, shape_of_volumes

        if not self.images and self.channels is None:
            return None, shape_of_volumes(loaded, read_volume_size(self.size))
        preprocess = self.prepared_volumes(loaded)
        found, failed = probes(loaded, self.images or [], self.reading(), preprocess, most=1)
        for line in failed:
            warn(line)
        if self.images and len(self.images) > 1:
            hint("of several volumes the first is looked at")
        return found[0].x, preprocess


def _show(found: Diagnosis, notes: tuple[str, ...]) -> None:
    from rich.text import Text

    console = out()
    for note in notes:
        console.print(
            Text.assemble(("warning  ", _STYLES["warning"]), ("network: ", "bold"), plain(note)), soft_wrap=True
        )
    for severity in ("problem", "warning", "note", "ok"):
        for finding in found.of(severity):
            _line(finding)
    console.print(Text(plain(found.title), style="bold"), soft_wrap=True)


def _line(finding: Finding) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console, severity = out(), str(finding.severity)
    head = Text.assemble((f"{severity:<9}", _STYLES[severity]), (f"{finding.check}: ", "bold"), plain(finding.seen))
    if severity == "ok":
        head.stylize("dim", 9)
    console.print(head, soft_wrap=True)
    if finding.means:
        console.print(Padding(Text(plain(finding.means)), (0, 0, 0, 9), expand=False))
    if finding.advice:
        console.print(Text.assemble((" " * 9 + "-> ", "bold"), plain(finding.advice)), soft_wrap=True)
