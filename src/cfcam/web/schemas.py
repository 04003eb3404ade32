"""What the REST API takes and gives, as pydantic models: one block for each group of addresses."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

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
    scale_max: float | None = Field(None, description="The raw maximum, for a scale that several maps share.")
    kind: MapKind = "evidence"
    seconds: float | None = None
    url: str
    source: Literal["file", "live"] = "file"


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
    affine: list[list[float]] | None = Field(
        None, description="4 x 4, from an index of the array to mm in the patient, RAS+; null where it is not known."
    )
    edges: list[str] | None = Field(None, description="Of a picture: where its right and its lower edge lie.")
    placed: bool = Field(False, description="Whether left and right are known.")
    window: Window
    windows: dict[str, list[float]] = Field(default_factory=dict, description="Name: centre and width.")
    values: Values
    probabilities: dict[str, float] | None = None
    maps: list[Map] = Field(default_factory=list)
    priors: list[str] = Field(default_factory=list)
    notices: list[str] = Field(default_factory=list)
    sizes: dict[str, int] = Field(default_factory=dict)


class Studies(BaseModel):
    """A part of the list of studies."""

    total: int
    studies: list[Brief]


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
    audit: bool = False
    limits: Limits
    disclaimer: str
