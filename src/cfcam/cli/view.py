"""``cfcam view``: pictures, volumes and maps in the browser, on this machine alone."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.arguments.read import read_channels, read_target, read_window
from cfcam.cli.command import Checked
from cfcam.cli.options import complete, together
from cfcam.cli.options.network import Layer, Model
from cfcam.cli.options.question import chosen_methods
from cfcam.cli.options.volumes import Modalities, PicturesOrVolumes
from cfcam.cli.output.console import hint, warn
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from cfcam.models import LoadedModel
    from cfcam.web import ViewSettings

# Known here without importing the server; a test keeps it equal to the viewer's.
METHODS = ("cf-cam", "grad-cam", "grad-cam++")
_LIBRARIES = ("fastapi", "uvicorn", "python_multipart")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _host(host: str) -> None:
    if not host.strip() or any(c.isspace() or c in "/?#@" for c in host):
        raise InputError(f"--host {host!r}: give a name or an address of this machine, such as 127.0.0.1")


def _reviewer(name: str) -> None:
    from cfcam.clinical.audit import FIELDS

    if not FIELDS["reviewer"].accepts(name):
        raise InputError(f"--reviewer {name!r}: give {FIELDS['reviewer'].what}")


@dataclass(frozen=True, kw_only=True)
class View(Modalities, PicturesOrVolumes, Layer):
    """Look at pictures, volumes and their maps in the browser, and ask the network for more.

    The address that is printed opens the viewer; only this machine can reach it, and only with the token in it.
    What is opened may be a picture, a folder, a DICOM study, a NIfTI file, a saved explanation, or a folder that
    cfcam explain wrote: then its maps are there at once. Nothing is changed, and nothing leaves the machine.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam view                       (testimgs/, demo network)

    cfcam view scans/ -m networks.py:my_net --classes names.txt --mean 0.5 --std 0.25

    cfcam view study/ -m monai:DenseNet121(...) --weights best.pt

    cfcam view --channels t1.nii.gz,t2.nii.gz -m networks.py:my_3d_net

    cfcam view output/               (what cfcam explain --save maps wrote)

    cfcam view scans/ -m hf:my-model --record answers.db --port 8600 --open

Ctrl+C ends it.

Exit codes: 0 ended · 1 failed · 2 wrong usage.
"""
    everyday: ClassVar[str] = "model weights classes size mean std method target layer record port open_browser quiet"
    panel: ClassVar[Panel | None] = Panel.VIEWER

    model: Model = None
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATHS", help="Pictures, volumes, folders, explanations. [default: testimgs]", show_default=False
        ),
        Checked(places.inputs),
    ] = None
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"Method that is offered first; repeatable. [default: {', '.join(METHODS)}]",
            autocompletion=complete.method,
            show_default=False,
        ),
        Checked(words.methods),
    ] = None
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="Class that is explained first: index, name, predicted; repeatable. [default: predicted]",
            autocompletion=complete.target,
            show_default=False,
        ),
        Checked(words.targets),
    ] = None
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Search sub-folders too.")] = False
    record: Annotated[
        str | None,
        typer.Option(metavar="FILE|URL", help="Audit record for answers: accept, reject, amend."),
        Checked(places.record),
    ] = None
    reviewer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose answers they are; else the page asks. Never a patient's name."),
        Checked(_reviewer),
    ] = None
    host: Annotated[
        str,
        typer.Option(metavar="NAME", help="Address to listen at; another than this machine's own is warned of."),
        Checked(_host),
    ] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen at; 0: any free one.")] = 0
    open_browser: Annotated[bool, typer.Option("--open", help="Open the browser.")] = False
    max_upload: Annotated[int, typer.Option(min=1, metavar="MB", help="Refuse larger files that are sent.")] = 512
    max_megapixels: Annotated[
        float, typer.Option(metavar="N", help="Refuse larger pictures."), Checked(words.megapixels)
    ] = 64
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the address alone.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False

    def __post_init__(self) -> None:
        """Looks for what goes together, and for the classes among those that are named."""
        super().__post_init__()
        together.modalities(self)
        named = self.model is not None or not (self.paths or self.channels)
        words.named_targets(self.classes, self.target or [], model=self.spec if named else None)

    def __call__(self) -> None:
        """Serves until it is interrupted."""
        _check_libraries()
        from cfcam.web import serve

        settings = self._settings()
        if self.host not in _LOOPBACK:
            warn(
                f"--host {self.host}: other machines can reach the viewer, and what is sent is not encrypted: whoever"
                " reads along has the token and the pictures"
            )
        serve(settings, ready=self._tell, debug=self.debug)

    def _tell(self, address: str) -> None:
        if (self.paths or self.channels) and self.model is None and not self.quiet:
            hint("no network is named, so that only maps that are there are shown: name one with --model, or try demo")
        typer.echo(address)
        sys.stdout.flush()
        if not self.quiet:
            hint("open this address in a browser; Ctrl+C ends it. Research use, not a medical device.")
        if self.open_browser:
            typer.launch(address)

    def _settings(self) -> ViewSettings:
        from cfcam.models.spec import Source, model_name, parse_spec
        from cfcam.web import ViewSettings

        channels = read_channels(self.channels)
        named = self.model is not None or not (self.paths or channels)  # the demo network is for the phantoms it knows
        reading: Any = {"channel": self.channel, "irregular": self.irregular}
        if self.channel is not None and self.channel.isdecimal():
            reading["channel"] = int(self.channel)
        if named and parse_spec(self.spec).source is Source.NNUNET:
            from cfcam.imaging.reading.channels import check_count
            from cfcam.models.nnunet import files_of

            names, endings = files_of(parse_spec(self.spec))
            if channels:
                check_count(channels, names, endings)
            reading |= {"names": names, "endings": () if channels or self.channel == "all" else endings}
        return ViewSettings(
            paths=() if channels else tuple(self.paths or [Path("testimgs")]),
            channels=channels,
            recursive=self.recursive,
            load=self.load if named else None,
            model=model_name(self.spec) if named else None,
            prepare=self._prepared if named else None,
            methods=chosen_methods(self.method or METHODS),
            targets=tuple(map(read_target, self.target or ["predicted"])),
            layer=self.layer,
            audit=self.record,
            reviewer=self.reviewer,
            window=None if self.window is None else read_window(self.window),
            time=self.time,
            series=self.series,
            host=self.host,
            port=self.port,
            max_upload=self.max_upload * 2**20,
            max_pixels=round(self.max_megapixels * 1e6),
            **reading,
        )

    def _prepared(self, loaded: LoadedModel, kind: str) -> Any:
        """What is done to an image before the network sees it."""
        return self.prepared_volumes(loaded) if kind == "volume" else self.prepared_pictures(loaded)


def _check_libraries() -> None:
    from importlib.util import find_spec

    for library in _LIBRARIES:
        if find_spec(library) is None:
            raise MissingExtraError(library.replace("_", "-"), "view", "cfcam view")
