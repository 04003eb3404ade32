"""What a gateway does, as its file says it: where objects come from, what explains them, where results go."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cfcam.errors import InputError, JobError, nearest
from cfcam.exchange.pacs.place import Place
from cfcam.jobs.gateway.places import Fhir, Health, Poll, Prior, Receive, Send, Spool, Watch, check_positive
from cfcam.jobs.gateway.toml import made, read_table

KINDS = ("pm", "seg", "sr", "sc", "gsps")
"""Kinds of DICOM objects that results may be; a test keeps them equal to those of `cfcam.exchange.KINDS`."""

PLANES = ("axial", "coronal", "sagittal", "oblique")
LOOPBACK = ("127.0.0.1", "::1", "localhost")

_NICEST = 19  # sched(7)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Complete:
    """When a series that is a volume has arrived.

    Attributes:
        quiet_s: seconds without a further object of it.
        expected: whether a series that says how many objects it has (0020,1209; 0020,1002) is complete with these.
    """

    quiet_s: float = 20.0
    expected: bool = True

    def __post_init__(self) -> None:
        check_positive(quiet_s=self.quiet_s)


@dataclass(frozen=True)
class Network:
    """A network, and how it explains; the words are those of ``cfcam explain``.

    Attributes:
        model: demo, torchvision:NAME[@WEIGHTS], timm:NAME, hf:FOLDER, monai:CLASS(...), FILE.py:FACTORY.
        weights: file of a checkpoint.
        num_classes: replace the classifier by one of so many classes.
        classes: names of the classes.
        head: which tensor holds the class scores, if the network returns several.
        probability: softmax, sigmoid, or given; else as the network ends.
        device: cpu, cuda, cuda:1, mps.
        layer: to map; else chosen from the network.
        methods: that make the maps.
        targets: classes: their names, predicted, all, top-3.
        size: of the network's input: height and width, or three sides of a volume.
        mean: of each channel of the input, as in training.
        std: of each channel of the input, as in training.
        intensity: of volumes: z-score, unit or none.
        window: a name such as lung, else the file's own.
        threshold: where a region begins: otsu, 0.5, quantile:0.9.
        uncertainty: how much the first map varies: mc-dropout, augmentation, methods.
        peak_stability: measure whether the peak of a map stays under small motions: 17 passes a picture.
        allow_burned_in: explain pictures too that say that a name stands in their pixels.
    """

    model: str
    weights: Path | None = None
    num_classes: int | None = None
    classes: tuple[str, ...] | None = None
    head: str | None = None
    probability: Literal["softmax", "sigmoid", "given"] | None = None
    device: str = "cpu"
    layer: str | None = None
    methods: tuple[str, ...] = ("cf-cam",)
    targets: tuple[str, ...] = ("predicted",)
    size: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    intensity: Literal["z-score", "unit", "none"] | None = None
    window: str | None = None
    threshold: str = "otsu"
    uncertainty: tuple[str, ...] = ()
    peak_stability: bool = False
    allow_burned_in: bool = False

    def __post_init__(self) -> None:
        if not self.methods or not self.targets:
            raise InputError("methods and targets may not be empty")


@dataclass(frozen=True)
class Rule:
    """Which objects go to which network: all that is said of them must be so; the first rule that fits is taken.

    Attributes:
        name: of the rule.
        networks: that explain what fits.
        by: "object" explains each object at once, "series" all of a series as one volume, when it is complete.
        modality: one of these.
        body_part: one of these, whatever the case; * stands for anything.
        description: regular expressions, one of which is found in the description of the series, whatever the case.
        view: one of these view positions.
        image_type: values that must all be in the image type.
        not_image_type: values of which none may be.
        plane: axial, coronal, sagittal or oblique.
        fewest_slices: of a series.
        most_slices: of a series.
        thickest_mm: slices at most so thick.
        smallest: rows and columns at least.
        sender: AE titles that sent it, or "watch" and "poll".
    """

    name: str
    networks: tuple[str, ...]
    by: Literal["object", "series"] = "object"
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    description: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()
    not_image_type: tuple[str, ...] = ()
    plane: tuple[str, ...] = ()
    fewest_slices: int | None = None
    most_slices: int | None = None
    thickest_mm: float | None = None
    smallest: int | None = None
    sender: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name("a rule", self.name)
        if not self.networks:
            raise InputError(f"rule {self.name}: networks is empty: name one")
        for pattern in self.description:
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(f"rule {self.name}: description {pattern!r}: {error}") from error
        unknown = [one for one in self.plane if one not in PLANES]
        if unknown:
            raise InputError(f"rule {self.name}: plane {unknown[0]!r}: give some of {', '.join(PLANES)}")
        if self.by == "object" and (self.fewest_slices or self.most_slices):
            raise InputError(f'rule {self.name}: a number of slices is for by = "series"')


@dataclass(frozen=True)
class Results:
    """What is made of each explained study.

    Attributes:
        objects: kinds of DICOM objects: pm, seg, sr, sc, gsps.
        report: whether the report is made too, as a PDF in a DICOM object.
        comparison: whether the comparison with the prior is sent too, as a PDF in a DICOM object; [prior] says where
            the prior is asked for.
        record: file of the audit that each study is entered in; made if it is missing.
        fhir: whether a FHIR Bundle is written beside the results; with [fhir] it is in any case.
        root: whether an object is made that ties the results together (a Key Object Selection).
        deidentify_key: file with a secret key; with it pictures are de-identified before anything is derived from them,
            and results are those of the pseudonym.
        palette: of overlays and reports.
        opacity: of overlays and reports.
    """

    objects: tuple[str, ...] = ("seg", "sr", "sc")
    report: bool = False
    comparison: bool = False
    record: Path | None = None
    fhir: bool = False
    root: bool = True
    deidentify_key: Path | None = None
    palette: str = "ember"
    opacity: float = 0.4

    def __post_init__(self) -> None:
        unknown = [one for one in self.objects if one not in KINDS]
        if unknown:
            raise InputError(f"objects {unknown[0]!r}: give some of {', '.join(KINDS)}")
        if not self.objects and not self.report:
            raise InputError("objects is empty and report is false: nothing would be made")


@dataclass(frozen=True)
class Work:
    """How work is tried.

    Attributes:
        most_tries: of a study whose work ends without an answer, as when memory runs out; what a file or a network is
            not fit for is not tried again.
        longest_s: seconds after which work on one study is given up.
        rehearsed: whether networks are loaded, and a drawn radiograph is explained by each that takes pictures, before
            the gateway calls itself well: else the first study waits for that.
        nice: by how much the process that explains stands back behind all others of this machine, 0 to 19 (nice(1)):
            originals are received, and an archive beside it stores them, while it is at work.
        threads: processors that a network's passes take; 0: all but one, which is left to those who send, or as many as
            OMP_NUM_THREADS says.
    """

    most_tries: int = 3
    longest_s: float = 600.0
    rehearsed: bool = True
    nice: int = 5
    threads: int = 0

    def __post_init__(self) -> None:
        check_positive(most_tries=self.most_tries, longest_s=self.longest_s)
        if not 0 <= self.nice <= _NICEST:
            raise InputError(f"nice is {self.nice}: give 0 to {_NICEST}")
        if self.threads < 0:
            raise InputError(f"threads is {self.threads}: give 1 or more, or 0 for all processors but one")


@dataclass(frozen=True)
class GatewaySettings:
    """All of a gateway.

    Attributes:
        spool: where objects lie.
        network: networks by their names.
        rule: which object goes to which network, in order.
        receive: in by C-STORE.
        watch: in from a folder.
        poll: in from a DICOMweb server.
        complete: when a series has arrived.
        results: what is made.
        send: where results go; without it they stay in the spool.
        fhir: a server that takes each study's Bundle, once the archive has its objects; without it none is posted.
        prior: where an earlier study is asked for.
        work: how work is tried.
        health: answers for monitoring.
    """

    spool: Spool
    network: dict[str, Network]
    rule: tuple[Rule, ...]
    receive: Receive | None = None
    watch: Watch | None = None
    poll: Poll | None = None
    complete: Complete = field(default_factory=Complete)
    results: Results = field(default_factory=Results)
    send: Send | None = None
    fhir: Fhir | None = None
    prior: Prior | None = None
    work: Work = field(default_factory=Work)
    health: Health | None = None

    def __post_init__(self) -> None:
        for name in self.network:
            _check_name("a network", name)
        if not self.rule:
            raise InputError("there is no [[rule]]: nothing would ever be explained")
        if len({rule.name for rule in self.rule}) < len(self.rule):
            raise InputError("two rules have the same name")
        for rule in self.rule:
            for name in rule.networks:
                if name not in self.network:
                    near = ", ".join(nearest(name, self.network) or sorted(self.network))
                    raise InputError(f"rule {rule.name}: there is no [network.{name}]; nearest: {near}")
        if self.results.comparison and self.prior is None:
            raise InputError("[results] comparison: say in [prior] where the prior is asked for")
        if not (self.receive or self.watch or self.poll):
            raise InputError("there is no [receive], [watch] or [poll]: nothing would ever arrive")


def read_settings(path: Path) -> GatewaySettings:
    """Reads the file of a gateway; relative paths in it start from its folder.

    Raises:
        JobError: it cannot be read, or says what cannot be.
    """
    table = read_table(path)
    try:
        settings = made(GatewaySettings, table, "", path.resolve().parent)
        if settings.receive is not None and settings.send is not None:
            _check_no_circle(settings)
    except JobError as error:
        raise JobError(f"{path.name}: {error}") from error
    return settings


def _check_no_circle(settings: GatewaySettings) -> None:
    assert settings.receive is not None  # noqa: S101 (asked before)
    assert settings.send is not None  # noqa: S101 (likewise)
    place = Place.parse(settings.send.place)
    if not place.is_web and place.host in LOOPBACK and place.port == settings.receive.port:
        raise JobError("[send] place: is the gateway itself, which would receive its own results: name the archive")


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"{what} is called {name!r}: give 1 to 40 letters, digits, - and _")
