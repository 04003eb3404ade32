"""One patient: where lungs, heart, bones and soft tissue lie, and what they add to the picture.

The frame is the patient's own: `x` = 0 is the midline, the patient's left has x > 0 (picture right), and
`s` = |x| grows from the midline outwards. Everything here depends on the seed alone.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from cfcam.models.demo.canvas import (
    Array,
    Canvas,
    Mask,
    Point,
    curve,
    ellipse,
    norm,
    overlap,
    smoothstep,
    union,
)

LEFT: Final = 1
RIGHT: Final = -1


@dataclass(frozen=True)
class Build:
    """The measures of one patient; lengths in widths of the picture."""

    scale: float
    shift: Point
    turn: float
    chest: float
    base: tuple[float, float]
    dome: float
    heart: float
    heart_turn: float
    mediastinum: float
    rib_start: float
    rib_pitch: float
    bone: float
    bend: float
    breast: float
    exposure: float
    contrast: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Build":
        """Draw a patient; the order of the draws is part of the format."""
        u = rng.uniform
        right_base = float(u(0.765, 0.815))
        return cls(
            scale=float(u(0.95, 1.05)),
            shift=(float(u(-0.018, 0.018)), float(u(-0.018, 0.018))),
            turn=float(u(-0.045, 0.045)),
            chest=float(u(0.93, 1.05)),
            base=(right_base, right_base + float(u(0.005, 0.035))),
            dome=float(u(1.5, 2.3)),
            heart=float(u(0.9, 1.12)),
            heart_turn=float(u(0.40, 0.70)),
            mediastinum=float(u(0.9, 1.15)),
            rib_start=float(u(0.0, 1.0)),
            rib_pitch=float(u(0.074, 0.084)),
            bone=float(u(0.75, 1.25)),
            bend=float(u(-0.012, 0.012)),
            breast=float(u(0.0, 1.0)),
            exposure=float(u(-0.035, 0.035)),
            contrast=float(u(0.92, 1.08)),
        )

    def lung_level(self, s: Array, y: Array) -> Array:
        """Level of a lung's egg-shaped outline without its base: negative inside, -1 at the centre."""
        middle = self.chest * (0.213 + 0.09 * (y - 0.60))
        across = np.abs(s - middle) / np.float32(0.186 * self.chest)
        along = np.abs(y - np.float32(0.60)) / np.float32(0.485)
        return np.asarray(across * across + along * along * np.sqrt(along) - 1, dtype=np.float32)

    def diaphragm(self, s: Array, side: int) -> Array:
        """Height `y` of a diaphragm dome at the distance `s` from the midline."""
        offset = s - np.float32(0.19 * self.chest)
        rise = np.where(offset > 0, np.float32(self.dome), np.float32(0.9))
        return np.asarray(self.base[side == LEFT] + rise * offset * offset, dtype=np.float32)


class Anatomy:
    """The patient of a seed on a canvas.

    Attributes:
        x, y: rigid patient coordinates, (size, size); devices are drawn in them.
        u, v: the same with a slight organic wobble; anatomy and findings are drawn in them.
        density: what the patient adds to the picture before the tone curve, (size, size): about 0 to 1.
    """

    def __init__(self, canvas: Canvas, seed: int) -> None:
        self.canvas = canvas
        self.build = build = Build.draw(child(seed, "build"))
        cos, sin = np.float32(np.cos(build.turn)), np.float32(np.sin(build.turn))
        px, py = canvas.x - np.float32(build.shift[0]), canvas.y - np.float32(0.5 + build.shift[1])
        self.x = (cos * px + sin * py) / np.float32(build.scale)
        self.y = (cos * py - sin * px) / np.float32(build.scale) + np.float32(0.5)
        wobble = child(seed, "wobble")
        self.u = self.x + np.float32(0.0045) * canvas.noise(wobble, 6)
        self.v = self.y + np.float32(0.0045) * canvas.noise(wobble, 6)
        self.s = np.abs(self.u)
        self._left = self.u > 0
        self._texture = child(seed, "texture")
        self.density = self._draw()

    @cached_property
    def masks(self) -> dict[str, Mask]:
        """Exact masks: the lungs free of heart and mediastinum, heart, spine, ribs."""
        return {
            "left lung": (self.lung < 0) & self._left,
            "right lung": (self.lung < 0) & ~self._left,
            "heart": self.heart < 0,
            "spine": self.spine < 0,
            "ribs": self.ribs < 0,
        }

    @cached_property
    def thorax(self) -> Array:
        """Signed distance to both lungs' outlines without their bases."""
        level = self.build.lung_level(self.s, self.v)
        dy, dx = np.gradient(level, self.canvas.pixel)
        return np.asarray(level / np.maximum(norm(dx, dy), 2.0), dtype=np.float32)

    @cached_property
    def base(self) -> Array:
        """Height above (negative) or below (positive) the diaphragm."""
        right, left = self.build.diaphragm(self.s, RIGHT), self.build.diaphragm(self.s, LEFT)
        blend = smoothstep(self.u, -0.06, 0.06)
        return np.asarray((self.v - right - blend * (left - right)) * np.float32(0.8), dtype=np.float32)

    @cached_property
    def heart(self) -> Array:
        """Signed distance to the heart; its apex points to the patient's left and down."""
        size, turn = self.build.heart, self.build.heart_turn
        centre = (0.050 * size, self.build.base[0] - 0.092)
        body = ellipse(self.u, self.v, centre, (0.172 * size, 0.118 * size), turn)
        atrium = ellipse(self.u, self.v, (-0.022, centre[1] + 0.012), (0.082 * size, 0.110 * size))
        return union(body, atrium)

    @cached_property
    def mediastinum(self) -> Array:
        """Signed distance to the mediastinum with the aortic knob and the pulmonary trunk."""
        width = self.build.mediastinum
        half = np.float32(0.052 * width) + np.float32(0.03) * smoothstep(self.v, 0.34, 0.62)
        column = self.s - half - np.float32(0.045) * smoothstep(self.v, 0.16, 0.0)
        knob = ellipse(self.u, self.v, (0.040 * width, 0.335), (0.046, 0.050))
        trunk = ellipse(self.u, self.v, (0.048 * width, 0.455), (0.046, 0.085), -0.15)
        vein = ellipse(self.u, self.v, (-0.030 * width, 0.36), (0.040, 0.16))
        return union(np.asarray(column, dtype=np.float32), knob, trunk, vein)

    @cached_property
    def lung(self) -> Array:
        """Signed distance to the air that shows: above the diaphragm, beside heart and mediastinum."""
        return overlap(self.thorax, self.base, -self.heart, -self.mediastinum)

    @cached_property
    def spine(self) -> Array:
        """Signed distance to the column of vertebral bodies."""
        bend = np.float32(self.build.bend) * np.sin(self.v * np.float32(5.0))
        return np.asarray(np.abs(self.u - bend) - (np.float32(0.033) + np.float32(0.010) * self.v), dtype=np.float32)

    @cached_property
    def ribs(self) -> Array:
        """Signed distance to the ribs' shadows: posterior ones, and the fainter anterior ends."""
        return union(self._posterior, self._anterior)

    @cached_property
    def _posterior(self) -> Array:
        course = 0.36 * self.s**2 / np.float32(0.4) - 0.05 * np.sin(self.s * np.float32(7.5)) + 1.6 * self.s**4
        phase = (self.v - course - np.float32(0.02)) / np.float32(self.build.rib_pitch) + self.build.rib_start
        gap = np.abs(phase - np.round(phase)) * np.float32(self.build.rib_pitch) * np.float32(0.9)
        return overlap(gap - np.float32(0.0125), self._cage, np.float32(0.035) - self.s)

    @cached_property
    def _anterior(self) -> Array:
        course = -0.62 * self.s + 0.55 * self.s**2
        phase = (self.v - course) / np.float32(self.build.rib_pitch * 1.12) + self.build.rib_start + 0.3
        gap = np.abs(phase - np.round(phase)) * np.float32(self.build.rib_pitch * 1.12) * np.float32(0.82)
        ends = np.float32(0.15) + np.float32(0.10) * (self.v - np.float32(0.3)) - self.s
        return overlap(gap - np.float32(0.0115), self._cage, ends, np.float32(0.26) - self.v)

    @cached_property
    def _cage(self) -> Array:
        below_apex, above_liver = np.float32(0.115) - self.v, self.base - np.float32(0.10)
        return overlap(self.thorax - np.float32(0.016), above_liver, below_apex)

    def _draw(self) -> Array:
        soft = self.canvas.soft
        body = self._body()
        air = soft(self.lung, 0.008) * (0.80 + 0.20 * smoothstep(self.lung, 0.0, -0.06))
        density = body - np.float32(0.36) * air
        heart, mediastinum = soft(self.heart, 0.007), soft(self.mediastinum, 0.008)
        density += 0.085 * np.maximum(heart, 0.75 * mediastinum) + 0.05 * heart * smoothstep(self.heart, 0.0, -0.08)
        density += self._abdomen() + self._airway() + self._vessels(air) + self._bones(air)
        density += 0.011 * self.canvas.noise(self._texture, 9) + 0.009 * self.canvas.noise(self._texture, 28)
        density += 0.007 * self.canvas.noise(self._texture, 70)
        return np.asarray(density * body_cut(body), dtype=np.float32)

    def _body(self) -> Array:
        """Soft tissue: thick in the middle and in the shoulders, thin at the sides, nothing outside."""
        build = self.build
        half = np.float32(0.115) + np.float32(0.46) * smoothstep(self.v, -0.06, 0.17) ** 1.5
        half = half - np.float32(0.105 - 0.04 * (build.chest - 0.93) / 0.12) * smoothstep(self.v, 0.20, 0.44)
        edge = (self.s - half) * np.float32(0.8)
        across = np.clip(self.s / half, 0, 1)
        thickness = 0.47 + 0.10 * np.sqrt(1 - across**2) - 0.10 * smoothstep(across, 0.75, 1.0)
        shoulder = 0.10 * smoothstep(self.s, 0.18, 0.36) * smoothstep(self.v, 0.38, 0.16)
        breast = ellipse(self.s, self.v, (0.235, 0.66), (0.17, 0.16))
        chest = 0.055 * build.breast * self.canvas.soft(breast, 0.03)
        return np.asarray((thickness + shoulder + chest) * self.canvas.soft(edge, 0.006), dtype=np.float32)

    def _abdomen(self) -> Array:
        trunk = np.minimum(self.thorax - np.float32(0.005), self.s - np.float32(0.12))
        below = self.canvas.soft(-self.base, 0.006) * self.canvas.soft(trunk, 0.012)
        bubble = ellipse(self.u, self.v, (0.17, self.build.base[1] + 0.105), (0.075, 0.042), -0.1)
        return np.asarray(0.125 * below - 0.10 * self.canvas.soft(bubble, 0.012), dtype=np.float32)

    def _airway(self) -> Array:
        stroke = self.canvas.stroke
        trachea = stroke(self.x, self.y, [(0.004, -0.1), (0.002, 0.12), (-0.004, 0.40)])
        bronchi = np.minimum(
            stroke(self.x, self.y, curve([(-0.004, 0.40), (-0.035, 0.455), (-0.075, 0.49)], 3)),
            stroke(self.x, self.y, curve([(-0.004, 0.40), (0.040, 0.450), (0.090, 0.475)], 3)),
        )
        soft = self.canvas.soft
        return np.asarray(
            -0.085
            * np.maximum(soft(trachea - np.float32(0.018), 0.006), 0.7 * soft(bronchi - np.float32(0.010), 0.006)),
            dtype=np.float32,
        )

    def _vessels(self, air: Array) -> Array:
        """Hila, and vessels that leave them, waver, and fade outwards."""
        dx, dy = self.s - np.float32(0.070), self.v - np.float32(0.475)
        radius = norm(dx, dy)
        spokes = 44
        turn = np.arctan2(dy, dx) / np.float32(2 * np.pi) + np.float32(0.012) * np.sin(radius * 30 + 6 * self.u)
        table = self._texture.standard_normal((2, 5, spokes)).astype(np.float32)
        column, row = (turn + np.float32(0.75)) * spokes, np.clip(radius * 9, 0, 3.99)
        i, j = row.astype(np.intp), column.astype(np.intp)
        fi, fj = smoothstep(row - i, 0, 1), smoothstep(column - j, 0, 1)
        side, here, next_ = self._left.astype(np.intp), j % spokes, (j + 1) % spokes
        inner = table[side, i, here] * (1 - fj) + table[side, i, next_] * fj
        outer = table[side, i + 1, here] * (1 - fj) + table[side, i + 1, next_] * fj
        streaks = np.maximum(inner * (1 - fi) + outer * fi, 0)
        streaks *= smoothstep(radius, 0.36, 0.02) * smoothstep(radius, 0.0, 0.07)
        return np.asarray((0.11 * smoothstep(radius, 0.085, 0.0) + 0.07 * streaks) * air, dtype=np.float32)

    def _bones(self, air: Array) -> Array:
        soft = self.canvas.soft
        rib = soft(self._posterior, 0.004) * (0.85 + 0.5 * smoothstep(self._posterior, -0.010, -0.002))
        front = soft(self._anterior, 0.005) * 0.6
        ribs = np.maximum(rib, front) * (0.35 + 0.65 * air)
        pitch = np.float32(0.058)
        level = (self.v / pitch - np.round(self.v / pitch)) * pitch
        vertebra = soft(self.spine, 0.005) * (0.55 + 0.45 * smoothstep(np.abs(level), 0.004, 0.011))
        process = soft(ellipse(self.u, level, (0.0, 0.018), (0.005, 0.010)), 0.003)
        bone = np.float32(self.build.bone)
        return np.asarray(
            bone * (0.060 * ribs + 0.075 * self._clavicles()) + 0.060 * vertebra + 0.03 * process,
            dtype=np.float32,
        )

    def _clavicles(self) -> Array:
        path = curve([(0.035, 0.215), (0.11, 0.185), (0.22, 0.165), (0.31, 0.125), (0.40, 0.10)], 5)
        distance = np.minimum(
            self.canvas.stroke(self.x, self.y, path),
            self.canvas.stroke(self.x, self.y, [(-a, b) for a, b in path]),
        )
        width = np.float32(0.0125) + np.float32(0.006) * smoothstep(self.s, 0.10, 0.03)
        return self.canvas.soft(np.asarray(distance - width, dtype=np.float32), 0.004)


def body_cut(body: Array) -> Array:
    """1 in the patient, 0 in the air beside: the textures of tissue end with it."""
    return smoothstep(body, 0.0, 0.2)


def child(seed: int, part: str) -> np.random.Generator:
    """The random generator of one part of one phantom: parts never disturb each other's draws."""
    return np.random.Generator(np.random.PCG64([seed, *part.encode()]))
