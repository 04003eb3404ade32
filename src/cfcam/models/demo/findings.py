"""What may be wrong with a phantom: where it lies, and the attenuation that it adds.

All places of a seed are drawn together and apart from each other, whether or not they are used; so a nodule
stays where it is when an effusion joins it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cfcam.models.demo.anatomy import LEFT, RIGHT, Anatomy, Build, child
from cfcam.models.demo.canvas import Array, Point, norm, smoothstep

TRIES: Final = 64


@dataclass(frozen=True)
class Places:
    """Where the findings of a seed lie, in the patient's frame; lengths in widths of the picture.

    Attributes:
        nodule: centre, radius and strength.
        cloud: centre, half axes, turn and strength of the consolidation.
        fluid: the effusion's side, height of its meniscus at the chest wall, and fall towards the midline.
        seed: for the texture of the consolidation.
    """

    nodule: tuple[Point, float, float]
    cloud: tuple[Point, Point, float, float]
    fluid: tuple[int, float, float]
    seed: int

    @classmethod
    def draw(cls, seed: int, build: Build) -> "Places":
        """Draw the places of a seed in a patient."""
        rng = child(seed, "places")
        side = LEFT if rng.random() < 0.5 else RIGHT
        axes = (float(rng.uniform(0.075, 0.105)), float(rng.uniform(0.085, 0.130)))
        cloud = _inside(rng, build, side, axes[1] * 0.7, (0.26, 0.70), [])
        wall = float(rng.uniform(0.60, 0.73)) + (build.base[side == RIGHT] - 0.79)
        fall = float(rng.uniform(0.075, 0.135))
        radius = float(rng.uniform(0.030, 0.055))
        taken = [(cloud, max(axes) * 1.45 + radius)]
        dry = wall - radius - 0.02
        either = LEFT if rng.random() < 0.5 else RIGHT
        spot = _inside(rng, build, either, radius * 1.15, (0.18, dry if either == -side else 0.74), taken)
        return cls(
            nodule=(spot, radius, float(rng.uniform(0.16, 0.23))),
            cloud=(cloud, axes, float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0.21, 0.28))),
            fluid=(-side, wall, fall),
            seed=seed,
        )


def nodule(anatomy: Anatomy, places: Places) -> Array:
    """A round soft-edged opacity; at half its attenuation it has its radius."""
    (cx, cy), radius, strength = places.nodule
    distance = norm(anatomy.u - np.float32(cx), anatomy.v - np.float32(cy))
    return np.float32(strength) * smoothstep(distance, 1.4 * radius, 0.6 * radius) * aerated(anatomy, 0.01)


def consolidation(anatomy: Anatomy, places: Places) -> Array:
    """A large cloudy opacity with an irregular border."""
    (cx, cy), (a, b), turn, strength = places.cloud
    rng = child(places.seed, "cloud")
    px, py = anatomy.u - np.float32(cx), anatomy.v - np.float32(cy)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    reach = norm((cos * px + sin * py) / np.float32(a), (cos * py - sin * px) / np.float32(b))
    ragged = reach + np.float32(0.26) * anatomy.canvas.noise(rng, 11) + np.float32(0.06) * anatomy.canvas.noise(rng, 30)
    patchy = 1 + np.float32(0.09) * anatomy.canvas.noise(rng, 22)
    core = smoothstep(ragged, 1.35, 0.55) * smoothstep(reach, 1.9, 1.3)
    return np.asarray(np.float32(strength) * core * patchy * aerated(anatomy, 0.03), dtype=np.float32)


def effusion(anatomy: Anatomy, places: Places) -> Array:
    """Fluid at a lung's base: it blunts the costophrenic angle and climbs the chest wall in a meniscus."""
    side, wall, fall = places.fluid
    depth = np.maximum(np.float32(0.39 * anatomy.build.chest) - anatomy.s, 0)
    surface = np.float32(wall) + np.float32(fall) * (1 - np.exp(-depth / np.float32(0.07))) + 0.12 * depth
    below = smoothstep(anatomy.v - surface, -0.022, 0.022)
    here = anatomy.u > 0 if side == LEFT else anatomy.u < 0
    return np.asarray(np.float32(0.40) * below * anatomy.canvas.soft(anatomy.lung, 0.008) * here, dtype=np.float32)


def aerated(anatomy: Anatomy, rim: float) -> Array:
    """1 in the depth of a lung, 0 from its border outwards: an opacity never leaves the lung."""
    return smoothstep(anatomy.lung, 0.0, -rim)


def _inside(
    rng: np.random.Generator,
    build: Build,
    side: int,
    margin: float,
    height: Point,
    taken: list[tuple[Point, float]],
) -> Point:
    """A point of one lung, `margin` from its border and away from what is taken: first of 64 that fits."""
    draws = rng.uniform((0.08, height[0]), (0.40, height[1]), (TRIES, 2)).astype(np.float32)
    s, y = draws[:, 0], draws[:, 1]
    room = np.minimum(-build.lung_level(s, y) * 0.10, build.diaphragm(s, side) - y)
    room = np.minimum(room, s - np.float32(0.095)) - np.float32(margin)
    if side == LEFT:
        room = np.minimum(room, norm((s - 0.05) / 1.45, y - np.float32(build.base[0] - 0.09)) - 0.125 - margin)
    for (cx, cy), reach in taken:
        room = np.minimum(room, norm(side * s - np.float32(cx), y - np.float32(cy)) - np.float32(reach))
    free = np.flatnonzero(room > 0)
    best = int(free[0]) if free.size else int(np.argmax(room))
    return side * float(s[best]), float(y[best])
