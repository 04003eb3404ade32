"""What the REST API takes and gives, as pydantic models: one block for each group of addresses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

AStudyId = Annotated[str, StringConstraints(pattern=r"^s-[0-9a-f]{12}$")]
AMapId = Annotated[str, StringConstraints(pattern=r"^m-[0-9a-f]{12}$")]
Number = Annotated[float, Field(strict=True)]
"""A number as JSON has it: neither `true`, which Python takes for 1, nor a text."""

Whole = Annotated[int, Field(strict=True)]
Real = Annotated[Number, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0, le=1)]
Pair = Annotated[tuple[Real, Real], Field(description="Two numbers.")]
AChannel = Annotated[Whole, Field(ge=0, lt=2**15)]
Blend = Literal["value", "uniform", "contour"]
Kind = Literal["picture", "volume"]
MapKind = Literal["evidence", "uncertainty", "control", "difference", "prior"]


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str = Field(description="One line: what, where, what next.")


# Studies and their maps


class Peak(BaseModel):
    """Where a map is hottest."""

    index: list[int] = Field(description="Of the source's array: row and column; of a volume d, h, w.")
    mm: list[float] | None = Field(None, description="The same from the first voxel's centre, in mm.")
    patient: list[float] | None = Field(None, description="x, y, z in the patient in mm, RAS+.")


class Window(BaseModel):
    """From where to where grey values are shown."""

    low: float
    high: float
    function: str = "LINEAR"
    source: str = Field(description="Who says so: the file, or what was taken for want of it.")


class Values(BaseModel):
    """The grey values of a study."""

    min: float
    max: float
    unit: str | None = None


class Channel(BaseModel):
    """One of the channels of a volume, such as a sequence of MR: what the maps can lie on."""

    name: str
    file: str | None = Field(None, description="What the file is called that it was read from, where each has its own.")
    url: str = Field(description="A NIfTI file of it.")
    window: Window
    values: Values


class Under(BaseModel):
    """The picture or volume that a map is of, where that is another than the study that it is shown with."""

    url: str = Field(description="A NIfTI file on the study's grid.")
    window: Window
    channels: list[Channel] = Field(default_factory=list, description="Of a volume with several, this one first.")


class Map(BaseModel):
    """A map of one study, by one method, for one class."""

    id: str
    method: str
    class_index: int
    class_name: str
    probability: float | None = None
    margin: float | None = None
    status: str = Field("ok", description='"ok", or why there is nothing to be seen.')
    layer: str | None = None
    threshold: float | None = Field(None, description="In [0, 1], of the map divided by its maximum.")
    rule: str | None = None
    peak: Peak | None = None
    scale_max: float | None = Field(
        None, description="What the map was divided by, in its own unit: times this the map is the evidence itself."
    )
    scale_group: str | None = Field(
        None,
        description="Maps of one group, by one method at one layer of one network, have one unit, and may be shown on"
        " the common scale of their greatest scale_max; others may not.",
    )
    kind: MapKind = "evidence"
    seconds: float | None = None
    url: str
    source: Literal["file", "live"] = "file"
    under: Under | None = Field(None, description="What it lies on; null: the study itself.")
    box: list[float] | None = Field(
        None, description="Of a detector, which it explains: corners x0, y0, x1, y1 in pixels of the picture."
    )


class Known(BaseModel):
    """What is known of a study, read or not; what only reading tells is null until then."""

    id: str
    name: str
    kind: Kind
    shape: list[int] | None = None
    modality: str | None = None
    status: str | None = None
    predicted: str | None = None
    probability: float | None = None
    label: str | None = None
    thumbnail: str | None = None


class Brief(Known):
    """A study in a list."""

    maps: int = Field(0, description="How many maps of it there are.")


class Detail(Known):
    """A study that is shown."""

    spacing: list[float] | None = Field(None, description="Between centres in mm: rows, columns; of a volume d, h, w.")
    measured: str | None = Field(
        None, description='Of a picture, where its mm are measured, such as "at the detector"; null: nothing is known.'
    )
    affine: list[list[float]] | None = Field(
        None, description="4 x 4, from an index of the array to mm in the patient, RAS+; null where it is not known."
    )
    edges: list[str] | None = Field(None, description="Of a picture: where its right and its lower edge lie.")
    placed: bool = Field(False, description="Whether left and right are known.")
    window: Window
    windows: dict[str, list[float]] = Field(default_factory=dict, description="Name: centre and width.")
    values: Values
    channels: list[Channel] = Field(
        default_factory=list, description="Of a volume with several; window and values above are those of the first."
    )
    probabilities: dict[str, float] | None = None
    maps: list[Map] = Field(default_factory=list)
    priors: list[str] = Field(
        default_factory=list,
        description="Ids of studies that may be a prior, the likeliest first, where few studies are open: see"
        " /api/studies/{id}/priors.",
    )
    notices: list[str] = Field(default_factory=list)
    sizes: dict[str, int] = Field(default_factory=dict)


class Studies(BaseModel):
    """A part of the list of studies."""

    total: int
    studies: list[Brief]


class Prior(BaseModel):
    """A study that may be a prior of another."""

    study: Brief
    same_patient: Literal[True] | None = Field(
        None, description="True: both files give one patient id; null: it is not known."
    )
    days: int | None = Field(
        None, description="By how many days it is older; below 0: it is dated later; null: a date is not known."
    )


class Priors(BaseModel):
    """What may be a prior of a study: those of the same patient first, and of these the last one before it."""

    priors: list[Prior]
    others: int = Field(
        0, description="Further studies of this kind, of patients that are not known: too many to list."
    )


# The viewer itself


class MethodInfo(BaseModel):
    """A method that can be asked for."""

    name: str
    needs_gradients: bool | None = None
    text: str = ""


class PaletteInfo(BaseModel):
    """A palette."""

    name: str
    colours: str = Field(description="256 x RGB, base64.")
    passes: bool | None = None
    note: str = ""


class ModelInfo(BaseModel):
    """The network that maps are made with."""

    name: str
    layer: str | None = None
    layers: list[str] = Field(default_factory=list)
    classes: list[str] = Field(default_factory=list)
    loaded: bool = False


class Defaults(BaseModel):
    """How maps are shown at first."""

    palette: str = "ember"
    opacity: float = 0.5
    blend: str = "value"
    threshold_rule: str = "otsu"
    methods: list[str] = Field(default_factory=list)
    targets: list[int | str] = Field(default_factory=list)


class Limits(BaseModel):
    """What is refused because it is too large."""

    upload_bytes: int
    pixels: int
    voxels: int


class Info(BaseModel):
    """The viewer: what it can do, and how it shows things at first."""

    version: str
    title: str
    model: ModelInfo | None = None
    methods: list[MethodInfo] = Field(default_factory=list)
    palettes: list[PaletteInfo] = Field(default_factory=list)
    default: Defaults
    windows: dict[str, list[float]] = Field(default_factory=dict)
    difference: PaletteInfo = Field(description="Of signed differences: its middle is none.")
    audit: bool = False
    reviewer: str | None = Field(None, description="Whose answers they are; null: whoever answers says so.")
    limits: Limits
    disclaimer: str


# What readers say of maps, and what is taken away


class Seen(BaseModel):
    """How a map is shown when somebody answers: names and kinds are those that a record of the audit takes."""

    model_config = ConfigDict(extra="forbid")

    opacity: Share | None = None
    threshold: Share | None = None
    fade: bool | None = None
    outline: bool | None = None
    palette: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")] | None = None
    blend: Blend | None = None
    window: Pair | None = None
    scale: Literal["own", "common"] | None = None
    plane: Literal["axial", "coronal", "sagittal", "all", "mip", "3d"] | None = None
    channel: AChannel | None = Field(default=None, description="Which channel of a volume lay under the map.")
    cursor: Annotated[list[Real], Field(min_length=2, max_length=3)] | None = None
    zoom: Real | None = None
    pan: Annotated[list[Real], Field(min_length=2, max_length=3)] | None = None
    original: bool | None = Field(default=None, description="Whether the original was looked at without the map.")
    compare: AStudyId | None = None
    maps: Annotated[list[AMapId], Field(max_length=6)] | None = None


class Amended(BaseModel):
    """What a reader puts in the place of what a map says."""

    model_config = ConfigDict(extra="forbid")

    class_index: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    threshold: Share | None = None
    peak: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=2, max_length=3)] | None = None
    plane: Literal["axial", "coronal", "sagittal"] | None = None
    slice: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    polygon: Annotated[list[Pair], Field(min_length=3, max_length=1000)] | None = None


class Answer(BaseModel):
    """What a reader says of a map."""

    model_config = ConfigDict(extra="forbid")

    study: AStudyId
    map: AMapId
    verdict: Literal["accept", "reject", "amend"]
    comment: Annotated[str, StringConstraints(max_length=4000)] = ""
    reviewer: Annotated[str, StringConstraints(max_length=200)] | None = Field(
        None, description="Whose answer it is; null: the name that the viewer was started with."
    )
    amended: Amended | None = None
    view: Seen = Seen()


class Recorded(BaseModel):
    """The record of an answer."""

    record_id: str
    time: str
    hash: str
    supersedes: str | None = Field(None, description="The record that it takes the place of, which stays as it was.")


class Given(BaseModel):
    """An answer, as it was recorded."""

    record_id: str
    time: str
    hash: str
    supersedes: str | None = None
    study: str
    map: str
    map_sha256: str
    verdict: Literal["accept", "reject", "amend"]
    reviewer: str
    comment: str = ""
    amended: dict[str, Any] = Field(default_factory=dict)
    view: dict[str, Any] = Field(default_factory=dict)
    method: str = ""
    layer: str = ""
    class_index: int | None = None
    probability: float | None = None


class Counting(Given):
    """The latest answer on a map, which counts."""

    contested: bool = Field(False, description="Whether readers differ, each by the last that they said.")
    history: list[Given] = Field(default_factory=list, description="The earlier ones, oldest first.")


class Reviews(BaseModel):
    """The answers on the maps of a study."""

    reviews: list[Counting]


class Wanted(BaseModel):
    """How an export shows the maps; other keys of the page's view are taken too, and change nothing."""

    model_config = ConfigDict(extra="ignore")

    opacity: Share | None = None
    threshold: Share | None = None
    palette: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")] | None = None
    blend: Blend | None = None
    window: Pair | None = None
    scale: Literal["own", "common"] = "own"
    channel: AChannel = Field(default=0, description="Which channel of a volume lies under the map.")
    cursor: Annotated[list[Real], Field(min_length=2, max_length=3)] | None = None


class Export(BaseModel):
    """What is to become a file."""

    model_config = ConfigDict(extra="forbid")

    study: AStudyId
    maps: Annotated[list[AMapId], Field(min_length=1, max_length=24)]
    format: Literal["png", "pdf", "dicom", "json"]
    dicom: Annotated[list[Literal["sc", "pm", "seg", "sr", "gsps"]], Field(max_length=5)] = Field(
        default_factory=list, description='Which objects "dicom" is; empty: all that the study allows.'
    )
    view: Wanted = Wanted()
