"""What is wrong with arguments before anything heavy is imported: a wrong word is told at once, not after torch.

Each check reads one argument by the function that will read it again when the command runs, wherever that function can
be had without torch; what only a network or a file's content can tell is told later.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cfcam.cli import options, study_options, volumes
from cfcam.errors import ImageError, InputError, ModelError

_DEVICE = re.compile(r"auto|(cpu|cuda|mps|xpu|hpu|mtia|xla|meta)(:\d+)?")
_AXES = ("RL", "AP", "SI")


def check(arguments: Mapping[str, Any]) -> None:
    """Checks what a command was given.

    Args:
        arguments: parameter's name -> value; None, and parameters that no check is for, are passed over.

    Raises:
        CfcamError: an argument cannot be right, whatever the network.
    """
    for name, value in arguments.items():
        if value is not None and name in _CHECKS:
            _CHECKS[name](value)


def _paths(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            there = path.exists() or glob.has_magic(str(path))
        except OSError:  # too long for a file system, which the reader will say
            there = True
        except ValueError:
            there = True
        if not there:
            raise ImageError(f"{path}: no such file or folder; check the path")


def _data(path: str) -> None:
    if path != "demo" and not Path(path).exists():
        raise ImageError(f"{path}: no such file or folder; give a folder of pictures or a CSV file")


def _file(option: str) -> Callable[[Path | str], None]:
    def check_file(path: Path | str) -> None:
        if not Path(path).expanduser().is_file():
            raise InputError(f"{option} {path}: no such file; check the path")

    return check_file


def _model(spec: str) -> None:
    from cfcam.models.spec import check_place, parse_spec

    check_place(parse_spec(spec))


def _weights(path: str) -> None:
    from cfcam.models.paths import is_file, is_folder

    if not is_file(Path(path).expanduser()) and not is_folder(Path(path).expanduser()):
        raise ModelError(f"the weights file {path} does not exist: check the path")


def _classes(given: str) -> None:
    from cfcam.models.classes import read_classes

    read_classes(options.class_names(given))


def _names(methods: str | Iterable[str]) -> None:
    from cfcam.methods import check_name

    for name in methods.split(",") if isinstance(methods, str) else methods:
        if name.strip() and name.strip() != "all":
            check_name(name.strip())


def _metrics(names: str) -> None:
    from cfcam.metrics.catalogue import resolve_metrics

    resolve_metrics(options.read_words("--metrics", names))


def _one_of(option: str, known: tuple[str, ...]) -> Callable[[str], None]:
    def check_word(word: str) -> None:
        if word not in known:
            raise InputError(f"{option} {word!r}: give {', '.join(known[:-1])} or {known[-1]}")

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
    from cfcam.clinical.check_results import Limits

    Limits.read(path)


def _megapixels(most: float) -> None:
    if not most > 0:
        raise InputError(f"--max-megapixels {most:g}: give a number above 0")


_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "paths": _paths,
    "images": _paths,
    "measure": _paths,
    "image": lambda path: _paths([path]),
    "prior": lambda path: _paths([path]),
    "current": lambda path: _paths([path]),
    "pairs": _file("--pairs"),
    "ensemble": lambda paths: list(map(_weights, map(str, paths))),
    "card": _file("--card"),
    "model": _model,
    "network": _model,
    "data": _data,
    "weights": _weights,
    "classes": _classes,
    "probability": _one_of("--probability", options.PROBABILITIES),
    "size": volumes.read_size,
    "resize": _one_of("--resize", options.RESIZES),
    "mean": lambda text: options.read_numbers("--mean", text),
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
    "method": lambda names: _names([names] if isinstance(names, str) else names),
    "methods": _names,
    "metrics": _metrics,
    "explained": _one_of("--explain", ("predicted", "label")),
    "palette": _palette,
    "opacity": _opacity,
    "save": _some_of("--save", options.SAVES),
    "dicom": _some_of("--dicom", study_options.KINDS),
    "report": _some_of("--report", study_options.FORMATS),
    "uncertainty": lambda ways: [_some_of("--uncertainty", study_options.WAYS)(way) for way in ways],
    "limits": _limits,
    "max_megapixels": _megapixels,
}
