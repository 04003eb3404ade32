"""What a viewer shows, with which network, and to whom. Nothing here imports torch."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.models import LoadedModel

METHODS = ("cf-cam", "grad-cam", "grad-cam++")
"""The methods that are offered first; a test keeps them equal to those of a run."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ViewSettings:
    """The settings of a viewer.

    Attributes:
        paths: what is opened: pictures, folders, DICOM, NIfTI, saved explanations, output folders of ``cfcam explain``.
        recursive: search the sub-folders of folders too.
        load: loads the network, called once, with the first map that is asked for; None: only what is there is shown.
        model: what the network is called, without its path.
        prepare: returns what is done to an image before this network sees it, given the network and
            "picture" or "volume"; None: what is known of the network.
        methods: names of the methods that are offered first.
        targets: what is explained first, as in ``cfcam explain --target``.
        layer: dotted name of the layer to map; None: chosen automatically.
        audit: where answers are recorded: an SQLite file or a database's URL; None: they are not.
        reviewer: whose answers they are; None: whoever answers says so.
        window: of DICOM pictures and volumes: centre and width, or a name of `cfcam.imaging.WINDOWS`; None: their own.
        time: which volume of a NIfTI with a fourth axis.
        channel: which channel of a NIfTI, or "all".
        channels: the files of one study's modalities, in the order of the network's channels: it is what is opened.
        endings: how the names of such files end, where that tells them apart: in a folder each study is then one.
        names: what the channels are.
        series: which series of a DICOM folder.
        irregular: what is done to DICOM slices at irregular distances.
        host: the address that is listened at.
        port: of it; 0: any free one.
        token: what a browser has to bring along.
        max_upload: bytes of a file that is sent, at most.
        max_pixels: larger pictures are refused.
        max_voxels: larger volumes are refused.
        memory: bytes of what was read that are kept, at most; what is shown at the moment is kept in any case.
        at_work: requests answered at a time; others are told to come again.
        patience: seconds after which a request's body has to be there.
    """

    paths: tuple[Path, ...] = ()
    recursive: bool = False
    load: Callable[[], LoadedModel] | None = field(default=None, repr=False)
    model: str | None = None
    prepare: Callable[[LoadedModel, str], Any] | None = field(default=None, repr=False)
    methods: tuple[str, ...] = METHODS
    targets: tuple[int | str, ...] = ("predicted",)
    layer: str | None = None
    audit: str | None = field(default=None, repr=False)
    reviewer: str | None = None
    window: str | tuple[float, float] | None = None
    time: int | None = None
    channel: int | Literal["all"] | None = None
    channels: tuple[Path, ...] = ()
    endings: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    series: int | None = None
    irregular: Literal["refuse", "resample"] = "refuse"
    host: str = "127.0.0.1"
    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    max_upload: int = 512 * 2**20
    max_pixels: int = 64_000_000
    max_voxels: int = 2**29
    memory: int = 2 * 2**30
    at_work: int = 64
    patience: float = 60.0

    def __post_init__(self) -> None:
        for name in ("max_upload", "max_pixels", "max_voxels", "memory", "at_work", "patience"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}: give a number above 0")
        if not 0 <= self.port < 2**16:
            raise InputError(f"port is {self.port}: give 0 (any free one) to 65535")
        if len(self.token) < 16:
            raise InputError("the token has fewer than 16 characters, which can be guessed: leave it out")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the viewer."""
        return self.host in LOOPBACK
