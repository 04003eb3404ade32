"""What is wrong with words and numbers, before anything heavy is imported: it is told at once, not after torch.

Each check reads one argument by the function that will read it again when the command runs, wherever that function can
be had without torch; what only a network or a file's content can tell is told later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cfcam.capture.targets.box_words import box_hint, read_box
from cfcam.cli.arguments.read import check_words, class_names, read_numbers, read_target, read_words
from cfcam.errors import InputError, ModelError

# Known here without importing torch; a test keeps them equal to those of cfcam.imaging.
BLENDS = ("value", "uniform", "contour")
PALETTES = ("ember", "inferno", "magma", "plasma", "viridis", "cividis", "hot", "gray", "turbo", "jet")

# Likewise, of cfcam.models.demo.
DEMO_CLASSES = ("no finding", "nodule", "consolidation", "effusion")
DEMO_NETWORKS = ("demo", "demo-shortcut")

# Likewise, of cfcam.imaging.drawing.formats.
PICTURE_FORMATS = ("png", "jpg", "webp", "svg", "pdf")
SMALLEST_PICTURE = 16

# Likewise, of cfcam.jobs.engine.texts.
SIDES = re.compile(r"(?:^|\s+)vs\.?(?:\s+|$)")

_DEVICE = re.compile(r"auto|(cpu|cuda|mps|xpu|hpu|mtia|xla|meta)(:\d+)?")
_AXES = ("RL", "AP", "SI")
_TOP = re.compile(r"top-?(\d+)")
_RULE = re.compile(r"predicted|all|top-?\d+|output-\d+|.+ vs .+")  # a target that is no single class's name


def normalisation(mean: str | None, std: str | None) -> None:
    """Refuses a mean and a standard deviation that cannot go together; how many there may be, the network decides."""
    means, stds = read_numbers("--mean", mean), read_numbers("--std", std)
    if means and stds and 1 not in (len(means), len(stds)) and len(means) != len(stds):
        raise InputError(f"--mean has {len(means)} and --std {len(stds)} values: give both one for each channel")


def named_targets(given: str | None, targets: Iterable[str], *, model: str | None = None) -> None:
    """Refuses names of classes that are not among the names that were given, or that a network is known to have."""
    if given is None and model not in DEMO_NETWORKS:
        return
    from cfcam.errors import few, nearest
    from cfcam.models.classes import read_classes

    classes = DEMO_CLASSES if given is None else read_classes(class_names(given))
    folded = {name.casefold() for name in classes}
    for text in targets:
        box = read_box(text)
        target = read_target(text) if box is None else box.label
        if (
            isinstance(target, str)
            and not is_table(target)
            and not _RULE.fullmatch(target)
            and target.casefold() not in folded
        ):
            near = few(map(repr, nearest(target, classes) or classes[:3]))
            called, hint = ("so", box_hint(text)) if box is None else (repr(target), "")
            raise InputError(f"--target {text!r}: no class is called {called}; nearest of {len(classes)}: {near}{hint}")


def word(option: str, due: str) -> Callable[[str], None]:
    """Returns a check that a text is not empty."""

    def check_word(text: str) -> None:
        if not text.strip():
            raise InputError(f"{option} {text!r}: give {due}, or leave it out")

    return check_word


def model(spec: str) -> None:
    """Refuses what names no network, a file that is not there, and a factory that cannot be in it."""
    from cfcam.models.spec import check_factory, check_place, parse_spec

    parsed = parse_spec(spec)
    check_place(parsed)
    check_factory(parsed)


def weights(path: str) -> None:
    """Refuses a checkpoint that is not there."""
    from cfcam.models.spec import is_file, is_folder

    if not is_file(Path(path).expanduser()) and not is_folder(Path(path).expanduser()):
        raise ModelError(f"the weights file {path} does not exist: check the path")


def classes(given: str) -> None:
    """Refuses names of classes that cannot be read."""
    from cfcam.models.classes import read_classes

    word("--classes", "a file, or names with commas between")(given)
    read_classes(class_names(given))


def methods(names: Iterable[str]) -> None:
    """Refuses names of methods that there are not; "all" is one."""
    for name in names:
        if name != "all":
            method(name)


def methods_of_anything(names: Iterable[str]) -> None:
    """The same, where pictures may also be explained word by word."""
    from cfcam.methods import list_text_methods

    methods(name for name in names if name not in list_text_methods())


def answers(targets: Iterable[str]) -> None:
    """Refuses an answer against none, or against itself, among what is asked of a text."""
    for text in targets:
        sides = SIDES.split(text.strip(), maxsplit=1)
        if len(sides) == 2 and (not all(sides) or sides[0] == sides[1]):
            raise InputError(f"--target {text!r}: give two different answers, as 'yes vs no'")


def method(name: str) -> None:
    """Refuses the name of a method that there is not, or that maps words."""
    from cfcam.methods import check_name, list_text_methods

    word("--method", "the name of a method, see cfcam methods")(name)
    check_name(name)
    if name in list_text_methods():
        raise InputError(
            f'{name} maps the words that a network writes: cfcam explain PICTURE --prompt "…" --method {name}'
        )


def is_table(text: str) -> bool:
    """Whether a target is a table of the class of each input."""
    return text.strip().lower().endswith((".csv", ".tsv"))


def table_of(texts: Sequence[str] | None) -> Path | None:
    """Returns the table among targets; None: there is none."""
    return Path(texts[0]) if texts and is_table(texts[0]) else None


def asked(texts: Sequence[str] | None) -> tuple[int | str, ...]:
    """Returns the targets of a run; until a table is read the predicted class stands for it."""
    return ("predicted",) if table_of(texts) else tuple(map(read_target, texts or ["predicted"]))


def targets_or_table(texts: Sequence[str]) -> None:
    """Refuses targets that no network has; a table of them stands alone, and is there; boxes of a detector may be."""
    if not any(map(is_table, texts)):
        targets(text for text in texts if read_box(text) is None)
    elif len(texts) > 1:
        raise InputError("--target: a table says which one class of each input is explained: give it alone")
    elif not Path(texts[0]).is_file():
        raise InputError(f"--target {texts[0]}: no such file; give a CSV file with the columns file and label")


def targets(texts: Iterable[str]) -> None:
    """Refuses targets that no network has."""
    for text in texts:
        word("--target", "an index, a name, predicted, top-3 or all")(text)
        if read_box(text) is not None:
            raise InputError(f"--target {text!r}: boxes of a detector are explained by cfcam explain, and not here")
        top = _TOP.fullmatch(text.strip())
        if top is not None and int(top[1]) < 1:
            raise InputError(f"--target {text!r}: give top-1 or more")
        index = read_target(text)
        if isinstance(index, int) and index < 0:
            raise InputError(f"--target {text!r}: there is no class {index}, they are counted from 0")


def one_or_more_targets(text: str) -> None:
    """Refuses a target that no network has."""
    targets([text])


def target(text: str) -> None:
    """Refuses a target that no network has, and one that stands for several."""
    targets([text])
    if text.strip() == "all" or _TOP.fullmatch(text.strip()):
        raise InputError(f"--target {text!r}: one class is looked at here: give its index, its name or predicted")


def metrics(names: str) -> None:
    """Refuses names of metrics and groups that there are not."""
    from cfcam.metrics.scorecard.catalogue import resolve_metrics

    resolve_metrics(read_words("--metrics", names))


def baselines(names: str) -> None:
    """Refuses baselines that there are not."""
    from cfcam.metrics.scorecard.catalogue import BASELINES

    unknown = [name for name in read_words("--baselines", names) if name not in BASELINES]
    if unknown:
        raise InputError(f"--baselines {unknown[0]!r}: there are {', '.join(BASELINES)}")


def one_of(option: str, known: tuple[str, ...]) -> Callable[[str], None]:
    """Returns a check that a word is one of those that are known."""

    def check_word(word: str) -> None:
        if word not in known:
            raise InputError(f"{option} {word!r}: give {' or '.join(filter(None, (', '.join(known[:-1]), known[-1])))}")

    return check_word


def some_of(option: str, known: tuple[str, ...]) -> Callable[[str], object]:
    """Returns a check that words with commas between are known."""
    return lambda text: check_words(option, text, known)


def palette(name: str) -> None:
    """Refuses the name of a palette that there is not."""
    if name in PALETTES:
        return
    import difflib

    from matplotlib import colormaps

    if name not in colormaps:
        near = difflib.get_close_matches(name.lower(), list(colormaps), n=3) or PALETTES
        raise InputError(f"no palette is called {name!r}: the nearest are {', '.join(near)}")


def opacity(share: float) -> None:
    """Refuses what is no share."""
    if not 0 <= share <= 1:
        raise InputError(f"opacity is {share}: give a number from 0 (no map) to 1 (nothing but the map)")


def std(text: str) -> None:
    """Refuses a standard deviation that is not above 0."""
    if any(number <= 0 for number in read_numbers("--std", text) or ()):
        raise InputError(f"--std {text!r}: a standard deviation is above 0")


def picture_format(name: str) -> None:
    """Refuses what pictures cannot be written as."""
    if name not in PICTURE_FORMATS:
        hint = ": jpg is meant" if name.lower() in ("jpeg", ".jpg", ".jpeg") else ""
        raise InputError(f"--format {name!r}{hint}: give one of {', '.join(PICTURE_FORMATS)}")


def picture_size(longest: int) -> None:
    """Refuses a longer side of pictures on which nothing could be seen."""
    if longest < SMALLEST_PICTURE:
        raise InputError(f"--max-size {longest}: give pixels of the longer side, {SMALLEST_PICTURE} or more")


def orientation(codes: str) -> None:
    """Refuses what is no orientation of three axes."""
    pairs = ["".join(sorted(next((axis for axis in _AXES if code in axis), code))) for code in codes.upper()]
    if codes != "source" and sorted(pairs) != sorted("".join(sorted(axis)) for axis in _AXES):
        raise InputError(f"--orientation {codes!r}: give three letters, one of each pair R/L, A/P, S/I, or source")


def device(name: str) -> None:
    """Refuses what cannot be a device."""
    if not _DEVICE.fullmatch(name):
        raise ModelError(f"--device {name!r}: give auto, cpu, cuda, cuda:1 or mps")


def overlap(share: float) -> None:
    """Refuses an overlap of windows that leaves no progress."""
    if not 0 <= share <= 0.9:
        raise InputError(f"--overlap {share:g}: give a number from 0 to 0.9")


def channel(text: str) -> None:
    """Refuses what is neither a channel's number nor ``all``."""
    if text != "all" and not text.isdecimal():
        raise InputError(f"--channel {text!r}: give a number from 0, or all")


def limits(path: Path) -> None:
    """Refuses a file of limits that cannot be read."""
    from cfcam.clinical.checks.results import Limits

    Limits.read(path)


def megapixels(most: float) -> None:
    """Refuses what is no number of megapixels."""
    if not 1e-6 <= most < 1e12:
        raise InputError(f"--max-megapixels {most:g}: give a number above 0, such as 64")


def share(least: str, text: str) -> Callable[[float], None]:
    """Returns a check that a threshold is a number from 0 to 1; ``least`` is "above" or "from", 0 left out or not."""

    def check_share(value: float) -> None:
        if not 0 <= value <= 1 or (least == "above" and value == 0):
            raise InputError(f"--threshold {value:g}: give a number {text}")

    return check_share


def rule(text: str) -> None:
    """Refuses what says not where a region begins."""
    from cfcam.clinical.region_rule import read_rule

    read_rule(text)


def gate(text: str) -> None:
    """Refuses what says not what a registration must reach."""
    from cfcam.clinical.comparison.gate import Gate

    Gate.parse(text)


def digest(text: str) -> None:
    """Refuses what is no SHA-256."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text.strip()):
        raise InputError(f"--against {text!r}: give the SHA-256 that was printed when the pack was made, 64 digits")
