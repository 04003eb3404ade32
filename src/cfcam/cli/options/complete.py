"""What the Tab key offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Complete = Callable[[str], list[str]]


def of(*choices: str) -> Complete:
    """Offers words of a list."""
    return lambda incomplete: _beginning(choices, incomplete)


def several(choices: Complete) -> Complete:
    """Offers words with commas between."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + choice for choice in choices(last)]

    return complete


def method(incomplete: str) -> list[str]:
    """Offers the names of methods."""
    from cfcam.methods import list_methods, list_pixel_methods, list_text_methods

    return _beginning((*list_methods(), *list_pixel_methods(), *list_text_methods(), "all"), incomplete)


def metric(incomplete: str) -> list[str]:
    """Offers the names of metrics and of their groups."""
    from cfcam.metrics.scorecard.catalogue import CATALOGUE, GROUPS

    return _beginning(("quick", "all", *GROUPS, *CATALOGUE), incomplete)


model = of("demo", "demo-shortcut", "torchvision:", "timm:", "hf:", "monai:", "nnunet:", "monai-bundle:")
target = of("predicted", "all", "top-3")
asked = of("predicted", "all", "top-3", "box-1", "boxes-0.5")  # with boxes of a detector


def _beginning(choices: Iterable[str], incomplete: str) -> list[str]:
    return [choice for choice in choices if choice.startswith(incomplete)]
