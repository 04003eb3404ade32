"""What the steps of a bundle's pipeline do to one volume: which move voxels that no affine follows, and which none."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcam.errors import InputError

Sizes = tuple[tuple[str, tuple[int, ...]], ...]

_SPATIAL: Final = ("monai.transforms.spatial.", "monai.transforms.croppad.")
_LEVELS: Final = 16  # values of a volume on which a change of values alone is told from a move
_ELSEWHERE: Final = 8  # of so many marks one is another level, so that no symmetry hides a move
_SAMPLE: Final = 100_000  # voxels that tell the levels
_TURNS: Final = 20  # how often new values go up and down again with the old ones, at most
_ALIKE: Final = 1e-4  # of the range of values: rounding of float32


def misplaced(name: str) -> InputError:
    """What is said of a transform behind which voxels lie elsewhere."""
    return InputError(
        f"behind {name} of the bundle's preprocessing the voxels do not lie where their affine says, and no map finds"
        " its place: use one that keeps the affine, before what drops it (track_meta, ToNumpyd)"
    )


@dataclass(frozen=True)
class Seen:
    """What was seen of a pipeline's steps on a volume.

    Attributes:
        still: those that moved none of its voxels.
        resized: those of somebody's own that changed its size and not the affine, with the sizes before and behind.
    """

    still: frozenset[int] = frozenset()
    resized: tuple[tuple[int, Sizes, Sizes], ...] = ()


class Follower:
    """Follows the images through a pipeline, step by step, and refuses what moves them unseen.

    Once a tensor has lost its metadata, what MONAI makes up for it is none of its knowledge, and what MONAI's spatial
    transforms do to it has to be nothing.

    Args:
        keys: of the images whose affine is followed, the first that is there; "" for an image that is in no mapping.
        steps: the transforms.
        names: what they are called.
        trial: what the run has to see again of a volume; None: it is the volume's own.
    """

    def __init__(self, keys: tuple[str, ...], steps: Sequence[Any], names: Sequence[str], trial: Seen | None) -> None:
        self.keys, self.steps, self.names = keys, steps, names
        self.affine: NDArray[np.float64] = np.eye(4)
        self._own = trial is None
        self._due = {} if trial is None else {n: (was, now) for n, was, now in trial.resized}
        self._lost: set[str] = set()
        self._still: set[int] = set()
        self._resized: list[tuple[int, Sizes, Sizes]] = []
        self._count = 0
        self._before: dict[str, Any] = {}
        self._grids: dict[str, tuple[tuple[int, ...], bytes | None]] = {}
        self._values: dict[str, NDArray[Any]] = {}
        self._marks: Any = None

    @property
    def next_name(self) -> str:
        """The name of the step that runs, or is next."""
        return self.names[min(self._count, len(self.names) - 1)] if self.names else "Compose"

    @property
    def seen(self) -> Seen:
        """What was seen so far."""
        return Seen(frozenset(self._still), tuple(self._resized))

    def behind(self, n: int, data: Any) -> None:
        """Looks at what a step has made.

        Raises:
            InputError: it moved voxels whose place nothing tells any more.
        """
        now = _images(data)
        if self._own and _of_places(self.steps[n]):
            if any(not _equal(was, now.get(key)) for key, was in self._before.items() if key in self._lost):
                raise misplaced(self.names[n])
            if all(key in self._lost or now.get(key) is was for key, was in self._before.items()):
                self._still.add(n)
        elif self._looks_at(n):
            was, grids = self._grids, _grids(now)
            sizes = _sizes(was), _sizes({key: grids[key] for key in was if key in grids})
            if not self._own and sizes != self._due[n]:
                raise misplaced(self.names[n])
            if self._own and any(_resized(one, grids[key]) for key, one in was.items() if key in grids):
                self._resized.append((n, *sizes))
            elif self._own and _in_place(was, grids) and self._of_values(n, now):
                self._still.add(n)
        self.take(data, n + 1)

    def take(self, data: Any, n: int) -> None:
        """Keeps what stands before a step."""
        images = _images(data)
        anew = images.keys() - self._before.keys() if self._lost else set()
        self._lost |= {key for key, one in images.items() if key in anew or not hasattr(one, "peek_pending_affine")}
        first = next((key for key in self.keys if key in images), None)
        if first is not None and first not in self._lost:
            self.affine = np.asarray(images[first].peek_pending_affine(), np.float64)
        self._count, self._before, self._values, self._marks = n, images, {}, None
        if self._looks_at(n):
            self._grids = _grids(images)  # a step of somebody's own may work in place
            if self._own and not _lazy(self.steps[n]):
                self._values = {key: np.array(_done(one)) for key, one in images.items()}
                self._marks = _marked(data, images)

    def _looks_at(self, n: int) -> bool:
        if not self._own:
            return n in self._due
        return n < len(self.steps) and not type(self.steps[n]).__module__.startswith("monai.transforms.")

    def _of_values(self, n: int, now: Mapping[str, Any]) -> bool:
        """Whether a step makes new values of the old ones, wherever they stand: then it moves none."""
        if self._marks is None or not all(_follows(one, np.asarray(now[key])) for key, one in self._values.items()):
            return False
        before = {key: np.array(one) for key, one in _images(self._marks).items()}
        try:
            after = _images(self.steps[n](self._marks))
        except Exception:  # noqa: BLE001 (somebody's own code; it runs on this volume, and the marks are another)
            return False
        return all(key in after and _pointwise(one, np.asarray(after[key])) for key, one in before.items())


def _images(data: Any) -> dict[str, Any]:
    some = data if isinstance(data, Mapping) else {"": data}
    return {key: one for key, one in some.items() if isinstance(one, (Tensor, np.ndarray)) and one.ndim >= 3}


def _of_places(step: Any) -> bool:
    return any(one.__module__.startswith(_SPATIAL) for one in type(step).__mro__)


def _lazy(step: Any) -> bool:
    return isinstance(step, importlib.import_module("monai.transforms").LazyTransform)


def _done(image: Any) -> Any:
    """An image with what a lazy pipeline has still to do to it."""
    if not getattr(image, "has_pending_operations", False):
        return image
    lazy = importlib.import_module("monai.transforms.lazy.functional")
    return lazy.apply_pending(copy.deepcopy(image))[0]


def _equal(was: Any, now: Any) -> bool:
    if was is now:
        return True
    one, other = (np.asarray(_done(image)) for image in (was, now))
    if one.shape != other.shape:
        return False
    reach = float(np.abs(one[np.isfinite(one)]).max(initial=0))
    return np.allclose(one, other, rtol=0, atol=1e-5 * reach, equal_nan=True)


def _grids(images: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], bytes | None]]:
    """The size and the affine of each, if it has one."""
    found = {}
    for key, image in images.items():
        one = _done(image)
        known = hasattr(one, "peek_pending_affine")
        found[key] = (tuple(one.shape[-3:]), np.asarray(one.affine, np.float64).tobytes() if known else None)
    return found


def _sizes(grids: Mapping[str, tuple[tuple[int, ...], bytes | None]]) -> Sizes:
    return tuple((key, size) for key, (size, _) in sorted(grids.items()))


def _resized(was: tuple[tuple[int, ...], bytes | None], now: tuple[tuple[int, ...], bytes | None]) -> bool:
    return was[0] != now[0] and now[1] in (None, was[1])


def _in_place(was: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return all(key in now and size == now[key][0] and now[key][1] in (None, way) for key, (size, way) in was.items())


def _marked(data: Any, images: Mapping[str, Any]) -> Any:
    """A volume like this one, of few levels, a share of which stands elsewhere."""
    draw = np.random.default_rng(0)
    marked = {}
    for key, image in images.items():
        one = copy.deepcopy(_done(image))
        values = np.asarray(one)
        levels = np.unique(np.quantile(_some(values), np.linspace(0, 1, _LEVELS), method="nearest"))
        which = np.minimum(np.searchsorted(levels, values), len(levels) - 1).astype(np.uint8)
        other = draw.integers(0, _ELSEWHERE, values.shape, np.uint8) == 0
        which[other] = draw.integers(0, len(levels), int(other.sum()), np.uint8)
        marks = levels[which].astype(values.dtype)
        one[...] = marks if isinstance(one, np.ndarray) else torch.from_numpy(marks)
        marked[key] = one
    if not isinstance(data, Mapping):
        return marked.get("", data)
    return {key: marked[key] if key in marked else copy.deepcopy(one) for key, one in data.items()}


def _some(values: NDArray[Any]) -> NDArray[np.float64]:
    flat = values[np.isfinite(values)]
    return np.append(flat[:: flat.size // _SAMPLE + 1], [flat.min(initial=0), flat.max(initial=0)]).astype(np.float64)


def _channels(values: NDArray[Any]) -> NDArray[np.float64]:
    return values.reshape(-1, *values.shape[-3:]).astype(np.float64)


def _follows(before: NDArray[Any], after: NDArray[Any]) -> bool:
    """Whether values near each other before are so behind: in their order, those of another place jump to and fro."""
    if before.shape != after.shape:
        return False
    for was, now in zip(_channels(before), _channels(after), strict=True):
        every = was.size // (10 * _SAMPLE) + 1
        ordered = now.reshape(-1)[::every][np.lexsort((now.reshape(-1)[::every], was.reshape(-1)[::every]))]
        jumps = np.abs(np.diff(ordered))
        whole = float(np.ptp(now))
        if not jumps[jumps > _ALIKE * whole].sum() <= _TURNS * whole:
            return False
    return True


def _pointwise(before: NDArray[Any], after: NDArray[Any]) -> bool:
    """Whether equal values before are equal behind."""
    if before.shape != after.shape:
        return False
    for was, now in zip(_channels(before), _channels(after), strict=True):
        widest = max(float(np.ptp(now[was == level])) for level in np.unique(was))
        if not widest <= _ALIKE * float(np.ptp(now)):
            return False
    return True
