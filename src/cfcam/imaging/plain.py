"""Numbers of settings as they are given (lists from JSON, arrays, tensors), made plain, and checked."""

from __future__ import annotations

from numbers import Real
from typing import Any

from cfcam.errors import InputError


def as_plain(value: Any) -> Any:
    """Returns a list, an array or a tensor as a tuple of Python's numbers, or as one number; others as they are."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(one.item() if hasattr(one, "item") and getattr(one, "ndim", 1) == 0 else one for one in value)
    return value


def is_number(value: Any) -> bool:
    """Tells whether a value is a single real number, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_per_channel(mean: Any, std: Any) -> None:
    """Raises `InputError` if one of the two is no tuple of numbers."""
    for name, value in (("mean", mean), ("std", std)):
        if is_number(value):
            raise InputError(
                f"{name} is {value!r}, a single number: mean and std are tuples, a number a channel: ({value!r},)"
            )
        if not isinstance(value, tuple) or not all(map(is_number, value)):
            raise InputError(f"{name} is {value!r}: mean and std are tuples of numbers, one for each channel")
