"""A bundle's transforms as MONAI's own `Compose` runs them, and whether the affine behind them is true."""

from __future__ import annotations

import copy
import importlib
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfcam.errors import InputError, MissingExtraError, describe, one_line
from cfcam.imaging.bundle_steps import Follower, Seen

LOADERS: Final = ("LoadImage", "LoadImaged")
"""What a bundle reads files with, which is done before: in its place stands the volume that was read."""
NOT_RUN: Final = ("Rand", "Save", "Lambda", "Write")
"""How the names of transforms begin that are random, or write, or are code."""
COMPOSE: Final = ("map_items", "unpack_items", "log_stats", "lazy", "overrides")
"""The arguments of a ``Compose`` beside its transforms."""
_READ_ALIKE: Final = (
    *("keys", "reader", "image_only", "ensure_channel_first", "simple_keys", "allow_missing_keys", "overwriting"),
    *("meta_keys", "meta_key_postfix", "prune_meta_pattern", "prune_meta_sep", "expanduser", "channel_dim"),
)  # arguments of a loader by which the numbers and places of one file stay the same
_READ_AS: Final = (("dtype", "float32"), ("dtype", np.float32), ("affine_lps_to_ras", True))
_VALUES_ALONE: Final = ("intensity", "post", "signal", "smooth_field", "regularization")  # modules of monai.transforms
_VALUES_TOO: Final = ("ImageFilter", "LabelToMask", "MapLabelValue", "ConvertToMultiChannelBasedOnBratsClasses")
_ALIKE: Final = 0.75  # of a voxel: nearest neighbours are up to half a voxel beside, and a shift is a whole one


def name_of(one: Mapping[str, Any]) -> str:
    """Returns the name of a transform's class."""
    return str(one.get("_target_", "")).rpartition(".")[2]


def arguments_of(one: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a transform's class is called with."""
    return {name: value for name, value in one.items() if not name.startswith("_")}


def check_loader(one: Mapping[str, Any]) -> None:
    """Refuses a loader that would read a file otherwise than it was read.

    Raises:
        InputError: it has such an argument.
    """
    if name_of(one) not in LOADERS:
        return
    for name, value in arguments_of(one).items():
        if name not in _READ_ALIKE and (name, value) not in _READ_AS:
            raise InputError(
                f"{name_of(one)} of the bundle's preprocessing has {name}={one_line(repr(value), 40)}, by which it"
                " reads other numbers than were read here: leave it out of the configuration"
            )


def built(one: Mapping[str, Any], *, trusted: bool) -> Any:
    """Returns a transform.

    Raises:
        InputError: there is none of that name, it is not MONAI's and not trusted, or its arguments do not fit.
    """
    found = _class_of(str(one["_target_"]), trusted=trusted)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MONAI's own defaults, which is for who writes a bundle
            return found(**arguments_of(one))
    except Exception as error:
        raise InputError(
            f"{name_of(one)} of the bundle's preprocessing cannot be built ({describe(error, 120)}): correct its"
            " arguments in the bundle's configuration"
        ) from error


def composed(
    transforms: Sequence[Mapping[str, Any]],
    data: dict[str, Tensor],
    result: str,
    compose: Mapping[str, Any],
    *,
    trusted: bool,
    trial: Seen | None = None,
) -> tuple[Any, NDArray[np.float64], Seen]:
    """Run transforms on what stands where the bundle would load its files.

    Args:
        transforms: each a mapping with ``_target_`` and its arguments.
        data: a MetaTensor for each key that is loaded.
        result: the key of what comes out.
        compose: arguments of MONAI's ``Compose``, such as ``lazy``.
        trusted: whether they may be other than MONAI's own.
        trial: what was seen on the volume that this run stands for; what changes values and moves none is left out.

    Returns:
        What came out; its affine: the last one that MONAI had before it dropped the metadata, if it did, as what it
        makes up for a tensor without is none; and what was seen of the steps.

    Raises:
        InputError: one cannot be built or fails, or one of MONAI's moves the voxels of a tensor without metadata.
    """
    monai = importlib.import_module("monai.transforms")
    words = [one if name_of(one) not in LOADERS else _loading(one, data) for one in transforms]
    words = [one for one in words if one]
    if trial:  # what a crop takes for foreground may be nothing of the values that stand in
        words = [{key: value for key, value in one.items() if key != "select_fn"} for one in words]
    steps = [built(one, trusted=trusted) for one in words]
    if trial:
        steps = [_kept(step) if n in trial.still else _places_of(step, monai) for n, step in enumerate(steps)]
    whole = not any("keys" in one for one in transforms) and len(transforms) > 0  # works on an image, and on no mapping
    follow = Follower(("", result, *data), steps, [name_of(one) for one in words], trial)
    every = [each for n, step in enumerate(steps) for each in (step, _watch(follow, n, monai))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pipeline = monai.Compose(every, **compose)
        except Exception as error:
            raise InputError(
                f"the Compose of the bundle's preprocessing cannot be built ({describe(error, 120)}): correct its"
                " arguments in the bundle's configuration"
            ) from error
        try:
            start = next(iter(data.values())) if whole else data
            follow.take(start, 0)
            found = pipeline(start)
        except Exception as error:
            raise _failed(error, follow) from error
    follow.take(found, len(steps))
    return (found.get(result) if isinstance(found, Mapping) else found), follow.affine, follow.seen


def _failed(error: BaseException, follow: Follower) -> InputError:
    """What is said of an error in a pipeline: whose it is, and whether the configuration is to be corrected."""
    while str(error).startswith("applying transform") and error.__cause__:  # names an object by its address
        error = error.__cause__
    if isinstance(error, InputError):
        return error
    frames = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    if any(name.startswith("monai.transforms.lazy") for name in frames):  # of steps before, which were pending
        who, then = "the lazy resampling", "correct lazy and overrides of its Compose, and the modes of its transforms"
    elif isinstance(error, (TypeError, KeyError, ValueError)):
        who, then = follow.next_name, "correct its arguments in the bundle's configuration, or give a volume they fit"
    else:
        who, then = follow.next_name, "give a volume as the bundle was trained on"
    return InputError(f"{who} of the bundle's preprocessing fails on this volume ({describe(error, 120)}): {then}")


def astray(
    transforms: Sequence[Mapping[str, Any]],
    run: Callable[[Sequence[Mapping[str, Any]], NDArray[np.float32]], tuple[Any, NDArray[np.float64]]],
    size: Sequence[int],
) -> str:
    """Find the transform behind which voxels do not lie where the affine says.

    Three volumes run through, each holding at every voxel its index along one axis: what a voxel of the result holds is
    where it came from, whatever the affine says.

    Args:
        transforms: as for `composed`.
        run: runs some of them on voxels and returns the result with the way from its indices to those of the voxels.
        size: of the voxels.

    Returns:
        Its name; "" where every voxel lies as the affine says.
    """
    if _true(transforms, run, size):
        return ""
    for count in range(len(transforms) - 1, 0, -1):
        try:
            if _true(transforms[:count], run, size):
                return name_of(transforms[count])
        except InputError:  # a part of them may be no pipeline
            continue
    return name_of(transforms[0])


def _true(transforms: Any, run: Any, size: Sequence[int]) -> bool:
    for axis in range(3):
        ramp = np.arange(size[axis], dtype=np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
        found, way = run(transforms, np.broadcast_to(ramp, tuple(size)))
        values = np.asarray(found)
        if values.ndim < 3:
            return False
        values = values.reshape(-1, *values.shape[-3:])[0].astype(np.float64)
        some = [np.linspace(0, n - 1, min(n, 24)).round().astype(int) for n in values.shape]
        index = np.stack(np.meshgrid(*some, indexing="ij"))
        due = np.einsum("an,n...->a...", way[:3, :3], index) + way[:3, 3][:, None, None, None]
        ends = np.reshape(size, (3, 1, 1, 1)) - 1
        inside = ((due > -1e-3) & (due < ends + 1e-3)).all(0)
        off = np.abs(values[tuple(index)] - due[axis])[inside]
        if not (off.size and np.median(off) <= _ALIKE):
            return False
    return True


def _watch(follow: Follower, n: int, monai: Any) -> Any:
    """A transform that follows behind a step, and that a lazy pipeline runs across without applying what is pending."""

    class Watch(monai.LazyTransform):  # type: ignore[misc]  # MONAI is asked for when it is needed
        def __call__(self, data: Any, lazy: bool | None = None) -> Any:
            del lazy
            follow.behind(n, data)
            return data

    return Watch(lazy=True)


def _loading(one: Mapping[str, Any], data: Mapping[str, Tensor]) -> Mapping[str, Any]:
    """What remains of a loader when its files are read."""
    if not one.get("ensure_channel_first"):
        return {}
    return (
        {"_target_": "EnsureChannelFirstd", "keys": list(data)} if "keys" in one else {"_target_": "EnsureChannelFirst"}
    )


def _places_of(step: Any, monai: Any) -> Any:
    """What a transform does to places; what is not MONAI's may do either, and is asked."""
    package, _, module = type(step).__module__.partition("transforms.")
    if package == "monai.":
        still = module.partition(".")[0] in _VALUES_ALONE and not type(step).__name__.startswith("Invert")
        return _same if still or type(step).__name__.rstrip("d") in _VALUES_TOO else step
    return step if isinstance(step, monai.LazyTransform) else lambda data: _in_place(data, step(copy.deepcopy(data)))


def _same(data: Any) -> Any:
    return data


def _kept(step: Any) -> Callable[[Any], Any]:
    """A step that moves nothing, by which every value stays as it is."""

    def run(data: Any) -> Any:
        after = step(copy.deepcopy(data))
        return {**after, **data} if isinstance(data, Mapping) and isinstance(after, Mapping) else data

    return run


def _in_place(before: Any, after: Any) -> Any:
    """The values from before for what has new ones in the old places."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return {key: _in_place(before[key], one) if key in before else one for key, one in after.items()}
    if not (isinstance(before, (Tensor, np.ndarray)) and isinstance(after, (Tensor, np.ndarray))):
        return after
    affines = [np.asarray(getattr(one, "affine", np.eye(4))) for one in (before, after)]
    if before.shape != after.shape or not np.array_equal(affines[0], affines[1]) or before.ndim < 3:
        return after
    return before if _in_order(np.asarray(before), np.asarray(after)) else after


def _in_order(before: NDArray[Any], after: NDArray[Any]) -> bool:
    """Whether what grew along an axis falls nowhere along it, and nothing changes along the others."""
    steps = []
    for axis in range(-3, 0):
        others = tuple(n for n in range(before.ndim) if n != before.ndim + axis)
        steps.append([np.diff(one.astype(np.float64).mean(others))[1:-1] for one in (before, after)])
    grown = max((float(np.abs(was).max(initial=0)) for was, _ in steps), default=0.0)
    least = 1e-2 * max(float(np.abs(now).max(initial=0)) for _, now in steps)
    return all(
        bool((now * np.sign(np.where(np.abs(was) > 1e-3 * grown, was, 0)) >= -least).all())
        and bool((np.abs(now)[np.abs(was) <= 1e-3 * grown] <= least).all())
        for was, now in steps
    )


def _class_of(path: str, *, trusted: bool) -> Any:
    """A transform of MONAI by its name, or anything by its whole path where that is trusted."""
    module, _, name = path.rpartition(".")
    try:
        library = importlib.import_module("monai.transforms")
        found = getattr(library, name, None)
        own = not module or module.startswith("monai.transforms")
        if own and isinstance(found, type) and issubclass(found, library.Transform):
            return found
        if module and trusted:
            return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "monai":
            raise MissingExtraError("monai", "models", "a MONAI bundle") from error
        raise InputError(f"there is no transform {one_line(path, 80)} here ({describe(error, 80)})") from error
    except AttributeError as error:
        raise InputError(f"there is no transform {one_line(path, 80)}: check the bundle's preprocessing") from error
    raise InputError(f"{one_line(path, 80)} is no transform of MONAI: check the bundle's preprocessing")
