"""At which size pictures were in a network's training, and how they were resized: where nobody says so, what tells."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from cfcam.diagnosis.findings import Finding, Severity, ok
from cfcam.diagnosis.fit import FEWEST, MOST, SIZES, WAYS, Fit, Way, fitted, has_memory
from cfcam.diagnosis.passes import observed
from cfcam.diagnosis.setup import Setup, attempt, cells, size_option, smooth_noise
from cfcam.imaging import Image, Preprocess, read_image
from cfcam.imaging.stated import is_assumed
from cfcam.models.expects import known_size
from cfcam.shown import counted

Size = tuple[int, ...]

USUAL = {
    1: (64, 128, 256, 512, 1024),
    2: (28, 32, 64, 96, 112, 128, 160, 192, 224, 256, 288, 299, 320, 384, 448, 512),
    3: (32, 64, 96, 128),
}
"""Axes -> usual sides of an input."""
_FIRST = (128, 256)  # of twice the side: enough for a network of any size
_TINY = 64
_SECONDS = 30.0
_SQUARE = 0.05  # a picture whose sides differ by less is as good as square
_SQUARE_TELLS_NOTHING = "all are square: fitted in they are the same as stretched, and cut only larger"


@dataclass(frozen=True)
class Runs:
    """The usual sizes that a network runs at.

    Attributes:
        at: those that it was seen to run at, ascending.
        untried: those for which there was no time; none are tried any more once it runs at any size.
    """

    at: tuple[Size, ...]
    untried: tuple[Size, ...] = ()

    @property
    def any_size(self) -> bool:
        """Whether it runs at two sizes of which one is twice the other: no layer of one fixed size takes both.

        Tiny ones do not count: a grid of one place is spread over any embedding of positions.
        """
        large = [size[0] for size in self.at if size[0] >= _TINY]
        return len(large) > 1 and large[-1] >= 2 * large[0]

    @property
    def said(self) -> str:
        """What it runs at, in words."""
        least = f" ({len(self.untried)} of them were not tried, for the time)" if self.untried else ""
        return f"{' and '.join(cells(size) for size in self.at)}{least}"


def sizes_that_run(setup: Setup, *, runs_at_own: bool) -> Runs:
    """Tries the usual sizes on noise, until the network has run at two of which one is twice the other.

    Args:
        setup: the network and an input, which says how many channels and axes there are.
        runs_at_own: whether it is known to run at the input's size, or known not to.
    """
    own, axes = tuple(setup.x.shape[2:]), setup.x.ndim - 2
    sides = sorted(USUAL[axes], key=lambda side: (side not in _FIRST, side))
    found, untried = [own] if runs_at_own else [], []
    end = time.monotonic() + _SECONDS
    for size in ((side,) * axes for side in sides):
        if size == own:
            continue
        if Runs(tuple(sorted(found))).any_size:
            break
        if time.monotonic() > end:
            untried.append(size)
        elif runs(setup, size):
            found.append(size)
    return Runs(tuple(sorted(found)), tuple(untried))


def runs(setup: Setup, size: Size) -> bool:
    """Tells whether the network runs on noise of a size."""
    x = smooth_noise((1, setup.x.shape[1], *size)).to(setup.x)
    batch = x.expand(setup.network.batch or 1, *x.shape[1:]).clone()
    return attempt(lambda: observed(setup.network, batch))[0] is not None


def size_is_assumed(setup: Setup) -> bool:
    """Tells whether nobody stated the size of the input: it is pictures', or noise, of a size that is usual."""
    if setup.x.ndim != 4:
        return False
    if setup.preprocess is None:
        return setup.synthetic and known_size(setup.module, 2) is None
    return is_assumed(setup.preprocess.sources.get("size"))


def check_resizing(setup: Setup) -> Iterator[Finding]:
    """Looks for the size and the way of resizing of training, if they are assumed; after the first pass."""
    how = setup.preprocess if isinstance(setup.preprocess, Preprocess) else None
    way_is_open = how is not None and not setup.synthetic and is_assumed(how.sources.get("resize"))
    size_is_open = size_is_assumed(setup)
    if size_is_open:
        own = tuple(setup.x.shape[2:])
        found = sizes_that_run(setup, runs_at_own=True)
        values = {"input": list(own), "assumed": True, "runs_at": [list(size) for size in found.at]}
        if not found.any_size:
            size_is_open = False
            yield _bound(found, own, values)
    if not (size_is_open or way_is_open):
        return
    files = () if setup.synthetic else setup.files[:: math.ceil(len(setup.files) / MOST) or 1]
    images = [read_image(file) for file in files] if has_memory(setup.module) else []
    told = _judged(setup, how, images, size_is_open=size_is_open, way_is_open=way_is_open)
    if size_is_open:
        yield _of_size(told, own, values)
    if way_is_open and how is not None:
        yield _of_way(told, how, images)


def _bound(found: Runs, own: Size, values: dict[str, object]) -> Finding:
    """The finding on a network with a layer of fixed size, or an embedding of positions."""
    if len(found.at) == 1 and not found.untried:
        return ok("size", f"{cells(own)}: of the usual sizes it runs at this one only", **values)
    return Finding(
        "size",
        Severity.WARNING,
        f"of the usual sizes it runs at {found.said}; nobody states at which it was trained, and {cells(own)} is"
        " assumed",
        "a layer of fixed size takes these as if they were one, and sees the same thing larger or smaller",
        "--size as in training",
        values,
    )


def _judged(
    setup: Setup, how: Preprocess | None, images: list[Image], *, size_is_open: bool, way_is_open: bool
) -> Fit | str:
    """What the network's BatchNorms say of sizes and ways of resizing together, or why they cannot be asked."""
    if not has_memory(setup.module):
        return "it has no BatchNorm with trained statistics, and its answers do not tell"
    if how is None or not images:
        return "noise is made for any size, give pictures" if setup.synthetic else "no files of pictures are known"
    if len(images) < FEWEST:
        return f"it was given {counted(len(images), 'picture')}, and {FEWEST} to {MOST} are needed"
    if (setup.network.batch or 1) != 1:
        return "it takes no single picture"
    tall, wide = how.input_size
    sizes = [(tall, wide)]
    if size_is_open:
        others = [(side, side) for side in SIZES if (side, side) != sizes[0]]
        sizes += [size for size in others if runs(setup, size)]
    usual = [way for way in WAYS if way != "pad" or not _all_square(images)] if way_is_open else []
    ways = list(dict.fromkeys((*usual, how.resize)))
    if not size_is_open and _all_square(images):
        return _SQUARE_TELLS_NOTHING
    trials: list[Way] = [(way, size) for size in sizes for way in ways]
    found, error = attempt(lambda: fitted(setup, how, images, trials))
    if found is None:
        return f"they cannot be prepared in every way ({error})"
    if isinstance(found, Fit) and not found.fits:
        return "they fit what its BatchNorms remember in none of the ways: see normalisation"
    return found


def _all_square(images: list[Image]) -> bool:
    return all(abs(image.size[0] / image.size[1] - 1) <= _SQUARE for image in images)


def _of_size(told: Fit | str, own: Size, values: dict[str, object]) -> Finding:
    """The finding on a network that runs at any size."""
    if isinstance(told, str):
        return Finding(
            "size",
            Severity.NOTE,
            f"it runs at any size; at which it was trained nobody states, and {cells(own)} is assumed",
            f"pictures do not tell here: {told}",
            "--size as in training",
            values,
        )
    values |= {"fits": [list(size) for size in told.sizes], "divergence": _numbers(told)}
    fits = ", ".join(cells(size) for size in told.sizes)
    if own not in told.sizes:
        one = len(told.sizes) == 1
        return Finding(
            "size",
            Severity.WARNING,
            f"{cells(own)} is assumed, and at {fits} the pictures fit what the network's BatchNorms remember better"
            f" ({_best(told, None):.2g} nats; at {cells(own)} {_best(told, own):.2g})",
            "it runs at any size, and knows things at the scale of its own; one trained on random zooms fits best"
            " somewhat above its size: this is evidence, and no proof",
            f"{size_option(told.sizes[0])}, if that is how it was trained" if one else "--size as in training",
            values,
        )
    if len(told.sizes) == 1:
        return ok("size", f"{cells(own)}: of the usual sizes pictures fit its BatchNorms at this one only", **values)
    return Finding(
        "size",
        Severity.NOTE,
        f"it runs at any size; at which it was trained nobody states, and {cells(own)} is assumed",
        f"pictures fit its BatchNorms at {fits}: they leave {cells(own)} open, and do not prove it",
        "--size as in training",
        values,
    )


def _of_way(told: Fit | str, how: Preprocess, images: list[Image]) -> Finding:
    """The finding on how pictures are resized."""
    if isinstance(told, str) or _all_square(images):
        why = told if isinstance(told, str) else _SQUARE_TELLS_NOTHING
        return Finding(
            "resizing",
            Severity.NOTE,
            f"how pictures were resized in training nobody states, and {how.resize} is assumed",
            f"that cannot be told from these pictures: {why}",
            "--resize as in training: stretch, shorter-side+crop, stretch+crop or pad",
            {"resize": how.resize},
        )
    values = {"resize": how.resize, "fits": told.ways, "divergence": _numbers(told)}
    fits = " and ".join(told.ways)
    if told.ways == [how.resize]:
        return ok("resizing", f"{how.resize}: pictures fit its BatchNorms in this way only", **values)
    if how.resize in told.ways:
        return Finding(
            "resizing",
            Severity.NOTE,
            f"how pictures were resized in training nobody states, and {how.resize} is assumed",
            f"pictures fit its BatchNorms with {fits}: which of them cannot be told",
            "--resize as in training",
            values,
        )
    return Finding(
        "resizing",
        Severity.WARNING,
        f"{how.resize} is assumed, and with {fits} the pictures fit what the network's BatchNorms remember better",
        "this is evidence, and no proof",
        f"--resize {told.ways[0]}, if that is how it was trained" if len(told.ways) == 1 else "--resize as in training",
        values,
    )


def _best(told: Fit, size: Size | None) -> float:
    """The smallest divergence at a size, or at any."""
    return min(value for (_, other), value in told.divergence.items() if size in (None, other))


def _numbers(told: Fit) -> dict[str, float]:
    return {f"{way} {cells(size)}": value for (way, size), value in told.divergence.items()}
