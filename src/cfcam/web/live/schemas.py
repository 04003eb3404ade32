"""What may be asked of the network and of its maps, and what is answered; see `cfcam.web.schemas` for the rest."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cfcam.web.schemas import AMapId, AStudyId, Map

JobRef = Annotated[
    str | None,
    Field(pattern=r"^[A-Za-z0-9_-]{8,64}$", description="A name of your own, for GET and DELETE /api/jobs/NAME."),
]
Plane = Literal["axial", "coronal", "sagittal"]
Words = Annotated[str, Field(min_length=1, max_length=200)]


class Asked(BaseModel):
    """What a request may say; anything else in it is refused."""

    model_config = ConfigDict(extra="forbid")


class Explain(Asked):
    """Which maps are to be made."""

    study: AStudyId
    methods: list[Words] = Field(min_length=1, max_length=24)
    targets: list[int | Words] = Field(
        ["predicted"],
        min_length=1,
        max_length=24,
        description='Class indices, class names, "predicted", "top-3", "a vs b" (a contrast has a margin).',
    )
    layer: Words | None = Field(None, description="Dotted name; null: the viewer's.")
    job: JobRef = None


class Wanted(Asked):
    """What a network is to be loaded for."""

    study: AStudyId


class Seconds(BaseModel):
    """Where the time went."""

    queue: float = Field(description="In the line for the network, its loading included.")
    forward: float = Field(description="In the network's own pass; 0 where that was kept from before.")
    total: float = Field(description="From its turn to the maps on the source's grid.")


class Explained(BaseModel):
    """Maps that were made."""

    maps: list[Map]
    probabilities: dict[str, float] | None = None
    seconds: Seconds
    notices: list[str] = Field(default_factory=list)


class Layer(Asked):
    """What is to be laid beside a map."""

    study: AStudyId
    map: AMapId = Field(description="A map of evidence, by the viewer's network.")
    kind: Literal["uncertainty", "control"]
    job: JobRef = None


class Layered(BaseModel):
    """What says how far a map can be relied on."""

    maps: list[Map]
    text: str = Field(description="In one line how much they agree.")
    agreement: float | None = Field(
        None, description="Mean soft IoU in [0, 1]: of the samples with each other, or of the map with its control."
    )
    notices: list[str] = Field(default_factory=list)


class Progress(BaseModel):
    """How far a request is."""

    waiting: bool = Field(description="For its turn at the network.")
    fraction: float
    seconds_left: float | None = Field(None, description="At this pace; null: not known yet.")


class Region(Asked):
    """What is to be measured."""

    study: AStudyId
    map: AMapId
    threshold: float | Words | None = Field(
        None, description='A number in (0, 1], "otsu", "quantile:0.9"; null: the map\'s own.'
    )
    polygon: list[tuple[float, float]] | None = Field(
        None,
        min_length=3,
        max_length=10_000,
        description="(row, column) of each corner, with fractions; (0, 0) is the middle of the first pixel. A position"
        " belongs to it whose centre lies inside or on the line.",
    )
    plane: Plane = Field("axial", description="Of a volume.")
    slice: int | None = Field(
        None, description="Of a volume: on which slice; rows and columns are the array's other two axes, in order."
    )
    slices: tuple[int, int] | None = Field(None, description="The polygon in all slices from the first to the last.")


class Measured(BaseModel):
    """Numbers of regions, computed by `cfcam.clinical.regions`."""

    table: dict[str, Any]
    outlines: dict[str, list[list[tuple[float, float]]]] = Field(
        description="Lines (row, column) around what the map marks, and around what was drawn, on this slice."
    )
    text: str
