"""What the viewer can do, and how it shows things at first."""

from __future__ import annotations

from fastapi import APIRouter

from cfcam._version import __version__
from cfcam.imaging.windows import WINDOWS
from cfcam.methods import list_methods
from cfcam.web.palettes import difference, palettes
from cfcam.web.routes.parts import TheLive, TheSettings
from cfcam.web.schemas import Defaults, Info, Limits, MethodInfo, ModelInfo

router = APIRouter(prefix="/api", tags=["viewer"])

DISCLAIMER = "Research use, not a medical device. A map shows what the network looked at; it is not a finding."


@router.get("/info")
def info(settings: TheSettings, live: TheLive) -> Info:
    """Tells what the viewer can do."""
    model: ModelInfo | None = None if live is None else live.info()
    methods = dict.fromkeys((*settings.methods, *list_methods())) if settings.load is not None else {}
    return Info(
        version=__version__,
        title="cfcam view",
        model=model,
        methods=[MethodInfo(name=name) for name in methods],
        palettes=list(palettes()),
        difference=difference(),
        default=Defaults(methods=list(settings.methods), targets=list(settings.targets)),
        windows={name: [float(centre), float(width)] for name, (centre, width) in WINDOWS.items()},
        audit=settings.audit is not None,
        reviewer=settings.reviewer,
        limits=Limits(upload_bytes=settings.max_upload, pixels=settings.max_pixels, voxels=settings.max_voxels),
        disclaimer=DISCLAIMER,
    )
