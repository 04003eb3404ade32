"""Cases of the demo world, drawn in memory: chest phantoms whose findings are known to the pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cfcam.errors import InputError
from cfcam.imaging import Image, Preprocess
from cfcam.jobs.cases.case import resolve_label
from cfcam.jobs.inputs.ground_truth import Notice
from cfcam.metrics.scorecard.samples import Part, Sample
from cfcam.models.demo import DEVICES, FINDINGS, Phantom, sample_phantom

FIRST_SEED = 5_000_000
"""No phantom from here on was used to train or to test the demo networks."""
_SIZE, _MOST = 224, 10_000


@dataclass(frozen=True)
class PhantomCase:
    """A phantom; its label is one of its findings, and its ground truth that finding's exact mask.

    Attributes:
        seed: of the phantom.
        parts: draw it once more without each of its findings, devices and its marker.
    """

    seed: int
    parts: bool = False

    @property
    def name(self) -> str:
        """What to call it in the tables."""
        return f"phantom {self.seed}"

    def identity(self) -> dict[str, Any]:
        """Returns what the numbers of the case depend on, as plain values."""
        return {"name": self.name, "size": _SIZE, **({"parts": True} if self.parts else {})}

    def load(self, preprocess: Preprocess, classes: Sequence[str] | int | None, notice: Notice) -> Sample:
        """Draws the phantom; see `cfcam.jobs.cases.case.load_case`. One without a finding has no ground truth."""
        phantom = sample_phantom(self.seed, size=_SIZE)
        image = preprocess(_picture(phantom))
        parts = self._parts(phantom, preprocess) if self.parts else ()
        findings = [name for name in FINDINGS if name in phantom.findings]
        if not findings:
            return Sample(image, resolve_label("no finding", classes), name=self.name, parts=parts)
        chosen = findings[self.seed % len(findings)]
        truth = preprocess.mask(torch.from_numpy(phantom.masks[chosen]))
        return Sample(image, resolve_label(chosen, classes), truth, name=self.name, parts=parts)

    def _parts(self, phantom: Phantom, preprocess: Preprocess) -> tuple[Part, ...]:
        masks = phantom.masks
        if "pacemaker" in masks:  # generator and lead come and go together
            masks = masks | {"pacemaker": masks["pacemaker"] | masks["lead"]}
        names = [name for name in (*FINDINGS, *DEVICES, "marker") if name in masks]
        return tuple(
            Part(
                name,
                preprocess.mask(torch.from_numpy(masks[name])),
                preprocess(_picture(sample_phantom(self.seed, size=_SIZE, without=name))),
            )
            for name in names
        )


def _picture(phantom: Phantom) -> Image:
    return Image(phantom.image, None, hashlib.sha256(phantom.image.tobytes()).hexdigest())


def phantom_cases(count: int = 16, seed: int = 0, *, parts: bool = False) -> list[PhantomCase]:
    """Returns phantoms that the demo networks have not seen.

    Args:
        count: how many, up to 10 000.
        seed: another seed gives other phantoms.
        parts: see `PhantomCase`.

    Raises:
        InputError: a number is out of its range.
    """
    if not 1 <= count <= _MOST or seed < 0:
        raise InputError(f"{count} phantoms of seed {seed}: give 1 to {_MOST} phantoms, and a seed of 0 or more")
    first = FIRST_SEED + seed * _MOST
    return [PhantomCase(first + n, parts) for n in range(count)]
