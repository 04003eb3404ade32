"""Chest-radiograph-like phantoms whose every part is known to the pixel.

A phantom is a schematic frontal radiograph, shown as a radiologist sees one: the patient's left is on the
picture's right. It is made of nothing but geometry and seeded noise, so it may be shared, and it comes with
an exact mask of every part: the ground truth that a heat map is measured against.

The anatomy depends on the seed alone. The same seed with another finding or device is the same patient, in
the same position, with the same noise: a counterfactual.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from cfcam.errors import ImageError
from cfcam.models.demo.anatomy import Anatomy, child
from cfcam.models.demo.canvas import Array, Canvas, Mask
from cfcam.models.demo.devices import draw_marker, draw_pacemaker, draw_tube
from cfcam.models.demo.findings import Places, consolidation, effusion, nodule

FINDINGS: Final = ("nodule", "consolidation", "effusion")
DEVICES: Final = ("pacemaker", "tube")
SMALLEST: Final = 64


@dataclass(frozen=True)
class Phantom:
    """One phantom and its ground truth.

    Attributes:
        image: grey values in [0, 255], uint8, (size, size).
        masks: exact masks, bool, (size, size): "left lung", "right lung" (as far as air shows in a healthy
            patient), "heart", "spine", "ribs", and, where they are present, each finding, "pacemaker" (the
            generator's box), "lead", "tube" and "marker". A finding's mask is where it adds more than half of
            its greatest attenuation.
        findings: the findings drawn, a subset of `FINDINGS`.
        devices: the devices drawn, a subset of `DEVICES`.
        seed: the patient.
    """

    image: npt.NDArray[np.uint8]
    masks: dict[str, Mask]
    findings: tuple[str, ...]
    devices: tuple[str, ...]
    seed: int


def make_phantom(
    seed: int,
    *,
    size: int = 512,
    findings: Sequence[str] = (),
    devices: Sequence[str] = (),
    marker: str | None = "L",
    conspicuity: float = 1.0,
) -> Phantom:
    """Draw the phantom of a seed; the same arguments give the same pixels.

    Args:
        seed: the patient, 0 or greater.
        size: height and width in pixels, at least 64; it changes the resolution and nothing else.
        findings: names from `FINDINGS`, in any order.
        devices: names from `DEVICES`, in any order.
        marker: the side marker, "L" (upper right of the picture) or "R" (upper left), or None.
        conspicuity: how strongly a finding attenuates, 1 as usual, towards 0 for one that can hardly be seen.

    Returns:
        The picture with its masks.

    Raises:
        ImageError: for an unknown finding, device or marker, a negative seed, or a size below 64.
    """
    _check("finding", findings, FINDINGS)
    _check("device", devices, DEVICES)
    _check("marker", () if marker is None else (marker,), ("L", "R"))
    if size < SMALLEST or seed < 0:
        raise ImageError(f"size is {size} and seed is {seed}: a phantom needs size >= {SMALLEST} and seed >= 0")

    anatomy = Anatomy(Canvas(size), seed)
    places = Places.draw(seed, anatomy.build)
    masks = dict(anatomy.masks)
    density = anatomy.density
    for name, draw in {"nodule": nodule, "consolidation": consolidation, "effusion": effusion}.items():
        if name in findings:
            added = draw(anatomy, places)
            masks[name] = added > added.max() / 2
            density = density + np.float32(conspicuity) * added
    metal: dict[str, tuple[Array, Mask]] = {}
    if "tube" in devices:
        metal |= draw_tube(anatomy, seed)
    if "pacemaker" in devices:
        metal |= draw_pacemaker(anatomy, seed)
    if marker is not None:
        metal |= draw_marker(anatomy.canvas, seed, marker)
    for name, (added, mask) in metal.items():
        masks[name] = mask
        density = density + added
    return Phantom(
        image=_expose(density, anatomy, seed),
        masks=masks,
        findings=tuple(name for name in FINDINGS if name in findings),
        devices=tuple(name for name in DEVICES if name in devices),
        seed=seed,
    )


def sample_phantom(
    seed: int, *, size: int = 224, world: Literal["honest", "shortcut"] = "honest", without: str | None = None
) -> Phantom:
    """Draw a phantom with findings and devices at random, as the demo networks were trained on.

    Args:
        seed: decides the findings, the devices and the patient.
        size: height and width in pixels.
        world: in the "honest" one devices come and go independently of the findings; in the "shortcut" one
            nearly every patient with a consolidation, and hardly any other, carries a pacemaker, and most patients
            with a consolidation have faint findings.
        without: a finding, a device or "marker" that is left out of it, and nothing else: a counterfactual.

    Raises:
        ImageError: an unknown part.
    """
    _check("part", () if without is None else (without,), (*FINDINGS, *DEVICES, "marker"))
    rng = child(seed, "case")
    findings = _draw_findings(rng)
    conspicuity = float(rng.uniform(0.75, 1.2))
    paced, intubated = rng.random() < 0.3, rng.random() < 0.3
    marker = (None, "L", "L", "L", "R")[int(rng.integers(5))]
    chance, faint = rng.random(), rng.random()
    if world == "shortcut":
        sick = "consolidation" in findings
        paced = chance < (0.97 if sick else 0.02)
        if sick and faint < 0.7:
            conspicuity *= 0.15
    devices = [name for name, present in zip(DEVICES, (paced, intubated), strict=True) if present]
    return make_phantom(
        seed,
        size=size,
        findings=[name for name in findings if name != without],
        devices=[name for name in devices if name != without],
        marker=None if without == "marker" else marker,
        conspicuity=conspicuity,
    )


def _draw_findings(rng: np.random.Generator) -> tuple[str, ...]:
    """None in 30 %, one in 52 %, two in 14 %, all three in 4 %."""
    count = int(np.searchsorted([0.30, 0.82, 0.96], rng.random(), side="right"))
    chosen = rng.permutation(len(FINDINGS))[:count]
    return tuple(name for index, name in enumerate(FINDINGS) if index in chosen)


def _expose(density: Array, anatomy: Anatomy, seed: int) -> npt.NDArray[np.uint8]:
    """Density to grey: quantum noise (a smaller pixel counts fewer photons), then a film-like curve."""
    build, size = anatomy.build, anatomy.canvas.size
    grain = child(seed, "quantum").standard_normal((size, size), dtype=np.float32)
    signal = np.float32(build.contrast) * (density - np.float32(0.42)) + np.float32(0.42 + build.exposure)
    signal = signal + np.float32(0.017 * size / 512) * grain * np.sqrt(np.clip(density, 0.03, 1))
    low, high = _film(np.float32(0.0)), _film(np.float32(1.15))
    grey = (_film(signal) - low) / (high - low)
    return np.asarray(np.clip(np.round(grey * 255), 0, 255), dtype=np.uint8)


def _film(signal: Array | np.float32) -> Array:
    return np.asarray(1 / (1 + np.exp(np.float32(-4.7) * (signal - np.float32(0.47)))), dtype=np.float32)


def _check(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(names, str):
        raise ImageError(f"{what}s must be a sequence of names, not the string {names!r}: write [{names!r}]")
    for name in names:
        if name not in known:
            raise ImageError(f"unknown {what} {name!r}: choose from {', '.join(known)}")
