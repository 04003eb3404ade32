"""What may be asked of the network and of its maps, and what is answered; see `cfcam.web.schemas` for the rest."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cfcam.web.schemas import AMapId, AStudyId, Map, Number, Whole

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
    targets: list[Whole | Words] = Field(
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


class Compare(Asked):
    """Which study is to be laid beside another."""

    study: AStudyId = Field(description="The current one.")
    prior: AStudyId
    map: AMapId | None = Field(
        None,
        description="A map of the current study, for one class and by the viewer's network: the prior is explained"
        " likewise; null: one by the viewer's first method, of the predicted class.",
    )
    registration: Literal["rigid", "affine", "none"] = Field(
        "rigid", description='How the images are brought together; "none": places are taken as they are.'
    )
    retests: Whole = Field(
        8, ge=0, le=32, description="Of each study, for the repeatability; 0: none, and no verdicts."
    )
    job: JobRef = None


class Change(BaseModel):
    """One number of a comparison."""

    name: str
    unit: str
    prior: float | None = None
    current: float | None = None
    change: float | None = Field(None, description="Current less prior; of a place or a map how far they are apart.")
    repeatability: float | None = Field(None, description="95 % of the changes without any cause lie below it.")
    verdict: str = Field(description='"within repeatability", "beyond repeatability", "not assessed".')


class Compared(BaseModel):
    """A prior laid beside a study: its maps on the study's grid, and the numbers of ``cfcam compare``."""

    prior: str = Field(description="Id of the prior study.")
    current: Map
    prior_maps: list[Map] = Field(description="The prior's own, on the study's grid.")
    difference: Map = Field(description="Current less prior over their common scale: raw in [-1, 1].")
    original: str = Field(description="Address of the prior's image on the study's grid, NIfTI.")
    quality: dict[str, Any] = Field(
        description="Of the registration; its matrix leads from a place in the prior image to that in the current one."
    )
    threshold: float = Field(description="Share of the common scale from which on a place is hot, in the numbers.")
    changes: list[Change] = Field(description="Measured on the prior's grid, as by the command.")
    verdict: str
    statement: str
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
    threshold: Number | Words | None = Field(
        None, description='A number in (0, 1], "otsu", "quantile:0.9"; null: the map\'s own.'
    )
    polygon: list[tuple[Number, Number]] | None = Field(
        None,
        min_length=3,
        max_length=10_000,
        description="(row, column) of each corner, with fractions; (0, 0) is the middle of the first pixel. A position"
        " belongs to it whose centre lies inside or on the line.",
    )
    plane: Plane = Field("axial", description="Of a volume.")
    slice: Whole | None = Field(
        None, description="Of a volume: on which slice; rows and columns are the array's other two axes, in order."
    )
    slices: tuple[Whole, Whole] | None = Field(
        None, description="The polygon in all slices from the first to the last."
    )


class Measured(BaseModel):
    """Numbers of regions, computed by `cfcam.clinical.regions`."""

    table: dict[str, Any]
    outlines: dict[str, list[list[tuple[float, float]]]] = Field(
        description="Lines (row, column) around what the map marks, and around what was drawn, on this slice."
    )
    text: str
