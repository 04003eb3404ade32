"""Numbers among hyper-parameters: what is no number of its kind is refused in words, by every method."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

import cfcam.methods
from cfcam.errors import MethodError
from cfcam.methods import (
    CFCAM,
    SESS,
    EigenCAM,
    ExpectedGradCAM,
    Fusion,
    IntegratedGradients,
    Method,
    ScoreCAM,
    View,
    WinsorCAM,
)
from cfcam.methods.clusters.filters import Filter

NO_WHOLE_NUMBER = (1.5, True, "3", float("nan"), float("inf"), [3], (2.5,), (True,))
NO_NUMBER = (float("nan"), float("inf"), -float("inf"), "90", True, [0.5], (float("nan"),), 10**400, 2**64)
INFINITE = {(IntegratedGradients, "tolerance")}
"""What may be infinite."""


def below(kind: type) -> Iterator[type]:
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


def kinds() -> list[type]:
    for module in pkgutil.walk_packages(cfcam.methods.__path__, "cfcam.methods."):
        importlib.import_module(module.name)
    own = [one for base in (Method, Filter) for one in below(base) if one.__module__.startswith("cfcam.methods.")]
    return [one for one in dict.fromkeys([*own, View]) if is_dataclass(one)]


CASES = [
    pytest.param(kind, field.name, value, id=f"{kind.__name__}-{field.name}-{value!r:.20}")
    for kind in kinds()
    for field in fields(kind)
    for whole in (bool(re.search(r"\bint\b", str(field.type))),)
    if whole or re.search(r"\bfloat\b", str(field.type))
    for value in (NO_WHOLE_NUMBER if whole else NO_NUMBER)
    if not (value == float("inf") and (kind, field.name) in INFINITE)
]


@pytest.mark.parametrize(("kind", "name", "value"), CASES)
def test_what_is_no_number_of_its_kind_is_refused_in_words(kind: type, name: str, value: Any) -> None:
    with pytest.raises(MethodError, match=name) as refused:
        kind(**{name: value})
    assert "\n" not in str(refused.value)


NO_FLAG = ("no", 1, 0, None, [])
NO_NAMES = ("layer4", 3, None, (1,), ("a", 2), {"a": 1})
WORDED = [
    pytest.param(kind, field.name, value, id=f"{kind.__name__}-{field.name}-{value!r:.20}")
    for kind in kinds()
    for field in fields(kind)
    for value in (NO_FLAG if field.type == "bool" else NO_NAMES if field.type == "tuple[str, ...]" else ())
]


@pytest.mark.parametrize(("kind", "name", "value"), WORDED)
def test_what_is_neither_true_nor_false_or_holds_no_names_is_refused(kind: type, name: str, value: Any) -> None:
    with pytest.raises(MethodError, match=rf"{kind.__name__}\({name}=.*(True or False|a tuple of names of layers)"):
        kind(**{name: value})


def test_all_methods_with_flags_or_layers_are_among_them() -> None:
    assert {kind for kind, *_ in (case.values for case in WORDED)} >= {CFCAM, EigenCAM, Fusion, WinsorCAM}
    assert Fusion(layers=["a", "b"]) == Fusion(layers=("a", "b"))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [[], {}, 3, "median"])
def test_what_is_no_filter_is_refused(value: Any) -> None:
    with pytest.raises(MethodError, match="one of bilateral, guided, published, a Filter or None"):
        CFCAM(filter=value)


def test_all_methods_with_numbers_are_among_them() -> None:
    assert {kind for kind, *_ in (case.values for case in CASES)} >= {CFCAM, SESS, ScoreCAM, WinsorCAM, View}
    assert len(CASES) > 300


def test_numbers_of_other_libraries_are_kept_as_whole_numbers() -> None:
    method = ExpectedGradCAM(samples=np.int64(4), noise=np.float32(0.5), seed=2.0)  # type: ignore[arg-type]
    assert (method.samples, type(method.samples), method.seed, type(method.seed)) == (4, int, 2, int)
    assert method == ExpectedGradCAM(samples=4, noise=0.5, seed=2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WinsorCAM(percentile="90"), r"WinsorCAM\(percentile='90'\): a number from 0 to 100"),
        (lambda: SESS(scales=(float("inf"),)), r"SESS\(scales=\(inf\)\): a tuple of numbers, 1 or more"),
        (lambda: SESS(keep=0), r"SESS\(keep=0\): a number above 0, at most 1"),
        (lambda: ScoreCAM(batch_size=0), r"ScoreCAM\(batch_size=0\): a whole number, 1 or more, or None"),
        (lambda: ScoreCAM(baseline="grey"), r"ScoreCAM\(baseline='grey'\): 'zero', 'blur' or a number"),
        (lambda: CFCAM(views=True), r"CFCAM\(views=True\): a number of views, 0 or more"),
    ],
)
def test_the_words(make: Any, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        make()
