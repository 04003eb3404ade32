"""What is wrong with arguments before anything heavy is imported: a wrong word is told at once, not after torch.

Each check reads one argument by the function that will read it again when the command runs, wherever that function can
be had without torch; what only a network or a file's content can tell is told later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cfcam.cli.arguments import places
from cfcam.cli.options import network as options
from cfcam.cli.options import study as study_options
from cfcam.cli.options import volumes
from cfcam.errors import InputError, ModelError

_DEVICE = re.compile(r"auto|(cpu|cuda|mps|xpu|hpu|mtia|xla|meta)(:\d+)?")
_AXES = ("RL", "AP", "SI")
_TOP = re.compile(r"top-?(\d+)")
_RULE = re.compile(r"predicted|all|top-?\d+|output-\d+|.+ vs .+")  # a target that is no single class's name


def check(arguments: Mapping[str, Any], module: str = "") -> None:
    """Checks what a command was given.

    Args:
        arguments: parameter's name -> value; None, and parameters that no check is for, are passed over.
        module: where the command is defined: "check" of `cfcam.cli.check`. An option of one name may mean another thing
            there.

    Raises:
        CfcamError: an argument cannot be right, whatever the network.
    """
    for name, value in arguments.items():
        checked = _CHECKS.get(f"{module} {name}", _CHECKS.get(name))
        if value is not None and checked is not None:
            checked(value)
    _normalisation(arguments.get("mean"), arguments.get("std"))
    _named_targets(arguments.get("classes"), arguments.get("target"))
    places.audit_folder(arguments.get("record"), arguments.get("output"))


def _normalisation(mean: str | None, std: str | None) -> None:
    """What every preparation asks of the two together; how large they may be, the network decides."""
    means, stds = options.read_numbers("--mean", mean), options.read_numbers("--std", std)
    if means and stds and 1 not in (len(means), len(stds)) and len(means) != len(stds):
        raise InputError(f"--mean has {len(means)} and --std {len(stds)} values: give both one for each channel")


def _named_targets(given: str | None, targets: str | Iterable[str] | None) -> None:
    """Refuses names of classes that are not among the names that were given."""
    if given is None or targets is None:
        return
    from cfcam.errors import few, nearest
    from cfcam.models.classes import read_classes

    classes = read_classes(options.class_names(given))
    folded = {name.casefold() for name in classes}
    for text in [targets] if isinstance(targets, str) else targets:
        target = options.read_target(text)
        if isinstance(target, str) and not _RULE.fullmatch(target) and target.casefold() not in folded:
            near = few(map(repr, nearest(target, classes) or classes[:3]))
            raise InputError(f"--target {text!r}: no class is called so; nearest of {len(classes)}: {near}")


def _word(option: str, due: str) -> Callable[[str], None]:
    def check_word(text: str) -> None:
        if not text.strip():
            raise InputError(f"{option} {text!r}: give {due}, or leave it out")

    return check_word


def _model(spec: str) -> None:
    from cfcam.models.spec import check_factory, check_place, parse_spec

    parsed = parse_spec(spec)
    check_place(parsed)
    check_factory(parsed)


def _weights(path: str) -> None:
    from cfcam.models.spec import is_file, is_folder

    if not is_file(Path(path).expanduser()) and not is_folder(Path(path).expanduser()):
        raise ModelError(f"the weights file {path} does not exist: check the path")


def _classes(given: str) -> None:
    from cfcam.models.classes import read_classes

    _word("--classes", "a file, or names with commas between")(given)
    read_classes(options.class_names(given))


def _methods(names: Iterable[str]) -> None:
    for name in names:
        if name != "all":
            _method(name)


def _method(name: str) -> None:
    from cfcam.methods import check_name

    _word("--method", "the name of a method, see cfcam methods")(name)
    check_name(name)


def _targets(texts: Iterable[str]) -> None:
    for text in texts:
        _word("--target", "an index, a name, predicted, top-3 or all")(text)
        top = _TOP.fullmatch(text.strip())
        if top is not None and int(top[1]) < 1:
            raise InputError(f"--target {text!r}: give top-1 or more")
        index = options.read_target(text)
        if isinstance(index, int) and index < 0:
            raise InputError(f"--target {text!r}: there is no class {index}, they are counted from 0")


def _target(text: str) -> None:
    _targets([text])
    if text.strip() == "all" or _TOP.fullmatch(text.strip()):
        raise InputError(f"--target {text!r}: one class is looked at here: give its index, its name or predicted")


def _metrics(names: str) -> None:
    from cfcam.metrics.scorecard.catalogue import resolve_metrics

    resolve_metrics(options.read_words("--metrics", names))


def _one_of(option: str, known: tuple[str, ...]) -> Callable[[str], None]:
    def check_word(word: str) -> None:
        if word not in known:
            raise InputError(f"{option} {word!r}: give {' or '.join(filter(None, (', '.join(known[:-1]), known[-1])))}")

    return check_word


def _some_of(option: str, known: tuple[str, ...]) -> Callable[[str], object]:
    return lambda text: options.check_words(option, text, known)


def _palette(name: str) -> None:
    if name in options.PALETTES:
        return
    import difflib

    from matplotlib import colormaps

    if name not in colormaps:
        near = difflib.get_close_matches(name.lower(), list(colormaps), n=3) or options.PALETTES
        raise InputError(f"no palette is called {name!r}: the nearest are {', '.join(near)}")


def _opacity(opacity: float) -> None:
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity is {opacity}: give a number from 0 (no map) to 1 (nothing but the map)")


def _std(text: str) -> None:
    if any(number <= 0 for number in options.read_numbers("--std", text) or ()):
        raise InputError(f"--std {text!r}: a standard deviation is above 0")


def _orientation(codes: str) -> None:
    pairs = ["".join(sorted(next((axis for axis in _AXES if code in axis), code))) for code in codes.upper()]
    if codes != "source" and sorted(pairs) != sorted("".join(sorted(axis)) for axis in _AXES):
        raise InputError(f"--orientation {codes!r}: give three letters, one of each pair R/L, A/P, S/I, or source")


def _device(name: str) -> None:
    if not _DEVICE.fullmatch(name):
        raise ModelError(f"--device {name!r}: give auto, cpu, cuda, cuda:1 or mps")


def _limits(path: Path) -> None:
    from cfcam.clinical.checks.results import Limits

    Limits.read(path)


def _megapixels(most: float) -> None:
    if not 1e-6 <= most < 1e12:
        raise InputError(f"--max-megapixels {most:g}: give a number above 0, such as 64")


def _share(least: str, text: str) -> Callable[[float], None]:
    """Refuses a threshold that is no number from 0 to 1; ``least`` is "above" or "from", 0 left out or not."""

    def check_share(value: float) -> None:
        if not 0 <= value <= 1 or (least == "above" and value == 0):
            raise InputError(f"--threshold {value:g}: give a number {text}")

    return check_share


def _rule(text: str) -> None:
    from cfcam.clinical.region_rule import read_rule

    read_rule(text)


def _gate(text: str) -> None:
    from cfcam.clinical.gate import Gate

    Gate.parse(text)


def _digest(text: str) -> None:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text.strip()):
        raise InputError(f"--against {text!r}: give the SHA-256 that was printed when the pack was made, 64 digits")


_CHECKS: Mapping[str, Callable[[Any], object]] = {
    # a name, or a module and a name where the name means another thing in it
    "paths": places.inputs,
    "images": places.inputs,
    "measure": places.inputs,
    "image": lambda path: places.inputs([path]),
    "prior": lambda path: places.inputs([path]),
    "current": lambda path: places.inputs([path]),
    "source": places.source,
    "data": places.data,
    "predictions": places.file(""),
    "pairs": places.file("--pairs"),
    "ensemble": lambda paths: list(map(_weights, map(str, paths))),
    "card": places.fields("--card"),
    "evidence protocol": places.fields("--protocol"),
    "junit": places.file("--junit"),
    "organ": places.masks("--organ"),
    "artefacts": places.masks("--artefacts"),
    "findings": places.masks("--findings"),
    "zone": places.named_masks("--zone"),
    "mask": places.named_masks("--mask", "FILE"),
    "output": places.folder,
    "check output": places.new_file("--output"),
    "picture": places.picture,
    "key": places.key,
    "folder": places.pack,
    "record": places.audit,
    "evidence against": _digest,
    "model": _model,
    "network": _model,
    "weights": _weights,
    "classes": _classes,
    "head": _word("--head", "the key, place or path of a tensor"),
    "layer": _word("--layer", "the name of a layer, see cfcam layers"),
    "deviation": _word("--deviation", "the reason"),
    "probability": _one_of("--probability", options.PROBABILITIES),
    "size": volumes.read_size,
    "doctor size": options.read_size,
    "layers size": options.read_size,
    "evidence size": options.read_size,
    "resize": _one_of("--resize", options.RESIZES),
    "std": _std,
    "device": _device,
    "window": volumes.read_window,
    "spacing": volumes.read_spacing,
    "orientation": _orientation,
    "intensity": _one_of("--intensity", volumes.INTENSITIES),
    "sliding": volumes.read_sliding,
    "aggregate": _one_of("--aggregate", volumes.AGGREGATES),
    "irregular": _one_of("--irregular", ("refuse", "resample")),
    "overlap": volumes.check_overlap,
    "channel": volumes.check_channel,
    "method": _method,
    "explain method": _methods,
    "methods": lambda names: _methods(options.read_words("--methods", names)),
    "metrics": _metrics,
    "target": _target,
    "explain target": _targets,
    "doctor target": lambda text: _targets([text]),
    "explained": _one_of("--explain", ("predicted", "label")),
    "explain threshold": _rule,
    "compare threshold": _share("above", "above 0, up to 1: the share of the common scale"),
    "evaluate threshold": _share("from", "from 0 to 1, the maximum of a map"),
    "evaluate protocol": _one_of("--protocol", ("cfcam-paper",)),
    "registration": _one_of("--registration", ("rigid", "affine")),
    "gate": _gate,
    "palette": _palette,
    "opacity": _opacity,
    "save": _some_of("--save", options.SAVES),
    "dicom": _some_of("--dicom", study_options.KINDS),
    "report": _some_of("--report", study_options.FORMATS),
    "uncertainty": lambda ways: [_some_of("--uncertainty", study_options.WAYS)(way) for way in ways],
    "limits": _limits,
    "max_megapixels": _megapixels,
}
