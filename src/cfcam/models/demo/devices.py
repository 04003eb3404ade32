"""What may lie on or in a phantom's patient: pacemaker, tube, side marker. All of it is bright and sharp."""

from collections.abc import Sequence

import numpy as np

from cfcam.models.demo.anatomy import Anatomy, child
from cfcam.models.demo.canvas import Array, Canvas, Mask, Point, box, curve, ellipse

Part = tuple[Array, Mask]
"""What a part adds to the density, and its exact mask, both (size, size)."""


def draw_pacemaker(anatomy: Anatomy, seed: int) -> dict[str, Part]:
    """A generator below a clavicle, usually the left one, and a lead through the vein into the heart."""
    rng = child(seed, "pacemaker")
    side = 1 if rng.random() < 0.9 else -1
    cx, cy = side * float(rng.uniform(0.25, 0.31)), float(rng.uniform(0.245, 0.295))
    half = (float(rng.uniform(0.044, 0.052)), float(rng.uniform(0.034, 0.041)))
    turn = side * float(rng.uniform(-0.1, 0.5))
    x, y, soft = anatomy.x, anatomy.y, anatomy.canvas.soft

    case = box(x, y, (cx, cy), half, 0.020, turn)
    top = (cx + np.sin(turn) * half[1] * 0.95, cy - np.cos(turn) * half[1] * 0.95)
    header = box(x, y, top, (half[0] * 0.62, 0.013), 0.008, turn)
    body = np.minimum(case, header)
    battery = box(x, y, (cx + side * 0.012, cy + 0.008), (half[0] * 0.50, half[1] * 0.52), 0.008, turn)
    metal = soft(case) * (0.40 + 0.10 * soft(battery)) + 0.26 * soft(header) * (1 - soft(case))

    size, floor = anatomy.build.heart, anatomy.build.base[0]
    path = [
        (top[0] - side * 0.02, top[1] - 0.012),
        (cx - side * 0.10, cy - 0.055 + float(rng.uniform(-0.01, 0.01))),
        (side * 0.085, 0.235),
        (-0.020 + side * 0.02, 0.285),
        (-0.045, 0.42),
        (-0.055, floor - 0.14),
        (-0.010, floor - 0.055 + float(rng.uniform(-0.01, 0.01))),
        (0.125 * size, floor - 0.040 + float(rng.uniform(-0.012, 0.012))),
    ]
    lead = anatomy.canvas.stroke(x, y, curve(path, 7)) - np.float32(0.0032)
    tip = ellipse(x, y, path[-1], (0.007, 0.007))
    lead = np.maximum(np.minimum(lead, tip), -body)
    wire = 0.30 * soft(lead) * (1 - soft(body))
    return {
        "pacemaker": (np.asarray(metal, dtype=np.float32), body < 0),
        "lead": (np.asarray(wire, dtype=np.float32), lead < 0),
    }


def draw_tube(anatomy: Anatomy, seed: int) -> dict[str, Part]:
    """An endotracheal tube down the trachea, or a chest tube from the side up into the lung."""
    rng = child(seed, "tube")
    jitter = rng.uniform(-0.008, 0.008, 4)
    if rng.random() < 0.6:
        path = [(0.010 + jitter[0], -0.05), (0.003 + jitter[1], 0.15), (jitter[2], 0.335 + 1.5 * jitter[3])]
    else:
        side = 1 if rng.random() < 0.5 else -1
        path = [
            (side * 0.52, 0.64 + jitter[0]),
            (side * 0.40, 0.585 + jitter[1]),
            (side * 0.315, 0.47),
            (side * (0.255 + jitter[2]), 0.34),
            (side * 0.215, 0.235 + jitter[3]),
        ]
    points = curve([(float(px), float(py)) for px, py in path], 6)
    distance = anatomy.canvas.stroke(anatomy.x, anatomy.y, points) - np.float32(0.0065)
    soft = anatomy.canvas.soft
    wall = soft(distance) * 0.09 + 0.16 * soft(np.abs(distance + np.float32(0.0022)) - np.float32(0.0022))
    return {"tube": (np.asarray(wall, dtype=np.float32), distance < 0)}


def draw_marker(canvas: Canvas, seed: int, letter: str) -> dict[str, Part]:
    """A lead letter near an upper corner: "L" on the picture's right, "R" on its left."""
    rng = child(seed, "marker")
    side = 1 if letter == "L" else -1
    corner = (side * 0.435 + float(rng.uniform(-0.015, 0.015)), 0.055 + float(rng.uniform(-0.01, 0.02)))
    distance = np.ones_like(canvas.x)
    for path in _STROKES[letter]:
        line = [(corner[0] + px, corner[1] + py) for px, py in path]
        np.minimum(distance, canvas.stroke(canvas.x, canvas.y, line), out=distance)
    distance -= np.float32(0.0055)
    return {"marker": (np.asarray(0.8 * canvas.soft(distance), dtype=np.float32), distance < 0)}


_STROKES: dict[str, Sequence[Sequence[Point]]] = {
    "L": [[(-0.014, -0.024), (-0.014, 0.024), (0.016, 0.024)]],
    "R": [
        [(-0.014, 0.024), (-0.014, -0.024), (0.006, -0.024), (0.014, -0.018), (0.014, -0.006), (0.006, 0.0)],
        [(0.006, 0.0), (-0.014, 0.0)],
        [(0.0, 0.0), (0.016, 0.024)],
    ],
}
