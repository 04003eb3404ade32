"""Numbers among the hyper-parameters of methods: checked where they are given, in words, before anything runs."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from cfcam.errors import MethodError, seed_number, shown, whole_number

_TOO_LARGE = 2**63
"""A whole number from here on is none that tensors hold."""


def check_whole_numbers(owner: Any, *names: str, least: int | None = 1, optional: bool = False) -> None:
    """Refuse fields of a frozen dataclass that are no whole numbers, and keep them as such (2.0, numpy's and torch's).

    Args:
        owner: the dataclass.
        names: of the fields.
        least: the smallest that makes sense; None: any.
        optional: whether None is one of the values.

    Raises:
        MethodError: a field is something else.
    """
    words = "a whole number" + ("" if least is None else f", {least} or more") + ", or None" * optional
    for name in names:
        if not optional or getattr(owner, name) is not None:
            _keep_whole(owner, name, least, words)


def check_numbers(
    owner: Any,
    *names: str,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    optional: bool = False,
    infinite: bool = False,
) -> None:
    """Refuse fields of a frozen dataclass that are no numbers, or none in a range.

    Args:
        owner: the dataclass.
        names: of the fields.
        least: the smallest; None: any.
        above: what they are larger than; None: any.
        most: the largest; None: any.
        optional: whether None is one of the values.
        infinite: whether they may be infinite.

    Raises:
        MethodError: a field is something else.
    """
    for name in names:
        value = getattr(owner, name)
        if not (optional and value is None) and not _is_number(value, least, above, most, infinite=infinite):
            raise _refused(owner, name, value, f"a number{_range(least, above, most)}" + ", or None" * optional)


def check_each_number(owner: Any, name: str, *, least: float | None = None, above: float | None = None) -> None:
    """Refuse a field of a frozen dataclass that is no tuple of numbers in a range.

    Raises:
        MethodError: it is something else.
    """
    value = getattr(owner, name)
    if not isinstance(value, tuple) or not all(_is_number(one, least, above) for one in value):
        raise _refused(owner, name, value, f"a tuple of numbers{_range(least, above)}")


def check_count(owner: Any, name: str, words: str, *, of: type, least: int = 1) -> None:
    """Refuse a field that is neither a whole number nor a tuple of at least so many things of one kind.

    Args:
        owner: the frozen dataclass.
        name: of the field.
        words: what it may be.
        of: the kind of the things in a tuple; of numbers none is a bool.
        least: the smallest number.

    Raises:
        MethodError: it is something else.
    """
    value = getattr(owner, name)
    if not isinstance(value, tuple):
        _keep_whole(owner, name, least, words)
    elif len(value) < least or not all(isinstance(one, of) and not isinstance(one, bool) for one in value):
        raise _refused(owner, name, value, words)


def check_flags(owner: Any, *names: str) -> None:
    """Refuse fields of a frozen dataclass that are neither True nor False: what else there is mostly counts as True.

    Raises:
        MethodError: a field is something else.
    """
    for name in names:
        if not isinstance(getattr(owner, name), bool):
            raise _refused(owner, name, getattr(owner, name), "True or False")


def check_layers(owner: Any) -> None:
    """Refuse a field ``layers`` of a frozen dataclass that holds no names, and keep a list of them as a tuple.

    Raises:
        MethodError: it is something else; a name alone would be read letter by letter.
    """
    value = owner.layers
    if not isinstance(value, (tuple, list)) or not all(isinstance(one, str) for one in value):
        raise _refused(owner, "layers", value, "a tuple of names of layers, as ('layer3', 'layer4')")
    object.__setattr__(owner, "layers", tuple(value))


def check_draws(owner: Any) -> None:
    """Refuse fields ``samples``, ``noise`` and ``seed`` that tell of no random draws.

    Raises:
        MethodError: one of them is no such number.
    """
    check_whole_numbers(owner, "samples")
    check_numbers(owner, "noise", least=0)
    check_whole_numbers(owner, "seed", least=None)
    seed_number(owner.seed, MethodError)


def check_baseline(owner: Any) -> None:
    """Refuse a field ``baseline`` that is neither "zero" nor "blur" nor a number.

    Raises:
        MethodError: it is something else.
    """
    value = owner.baseline
    if not _is_number(value) and not (isinstance(value, str) and value in ("zero", "blur")):
        raise _refused(owner, "baseline", value, "'zero', 'blur' or a number")


def _keep_whole(owner: Any, name: str, least: int | None, words: str) -> None:
    value = getattr(owner, name)
    try:
        object.__setattr__(owner, name, whole_number(value, name, least, MethodError))
    except MethodError:
        raise _refused(owner, name, value, words) from None


def _is_number(
    value: Any,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    *,
    infinite: bool = False,
) -> bool:
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) >= _TOO_LARGE) or not isinstance(value, Real):
        return False
    try:
        number = float(value)
    except OverflowError:  # a fraction of hundreds of digits
        return False
    low = (least is None or number >= least) and (above is None or number > above)
    return low and (most is None or number <= most) and (math.isfinite(number) or (infinite and not math.isnan(number)))


def _range(least: float | None, above: float | None, most: float | None = None) -> str:
    if most is not None:
        return f" from {least:g} to {most:g}" if above is None else f" above {above:g}, at most {most:g}"
    if least is not None:
        return f", {least:g} or more"
    return "" if above is None else f" above {above:g}"


def _refused(owner: Any, name: str, value: object, words: str) -> MethodError:
    what = f"({', '.join(map(shown, value))})" if isinstance(value, tuple) else shown(value)
    return MethodError(f"{type(owner).__name__}({name}={what}): {words}")
