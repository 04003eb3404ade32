"""Where a later image lies over an earlier one: registration by mutual information, and whether it may be trusted.

A matrix leads from a place in the prior image (see `comparison.placed`) to the same place in the current one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cfcam.clinical.comparison.gate import RegistrationError
from cfcam.clinical.comparison.placed import Grid, Matrix, Placed
from cfcam.clinical.comparison.quality import Quality, Registration, RegistrationKind
from cfcam.errors import InputError, MissingExtraError

_POSITIONS = {2: 2**16, 3: 2**17}  # that the finest level registers: 256 x 256, 51 x 51 x 51
_COARSE = 2**14  # positions on which ways are compared
_LEVELS = (4, 2, 1)  # shrink factors
_LEAST_SIDE = 8  # positions of an axis that a coarse level keeps
_BINS = 32
_PERCENTILES = (0.5, 99.5)
_START_ANGLES = (0.0, -8.0, 8.0)  # degrees; a start only for pictures, whose grids say nothing of the patient
_START_OVERLAP = 0.5
_ITERATIONS = 300
_RELAXATION = 0.8  # the usual 0.5 stops early on the way along a narrow valley, and volumes have such
_CLOSEST = 3e-3  # smallest step, in positions of the finest level
_PACES = (1.0, 0.25)  # first step, in positions of the coarsest level: the large one may leap out of a good start


def register(prior: Placed, current: Placed, kind: RegistrationKind = "rigid") -> Registration:
    """Finds where the current image lies over the prior one.

    Mattes mutual information at three resolutions with SimpleITK, in one thread and without random samples: the same
    images give the same numbers. Grey values are cut at the 0.5th and 99.5th percentile; large images are averaged to
    about 256 x 256 or 50 x 50 x 50 positions of like spacing first.

    Args:
        prior: grey values.
        current: grey values, with as many axes; of another size and spacing, if need be.
        kind: "rigid" (rotation and shift), "affine" (after rigid, also scale and shear), or "none".

    Returns:
        The registration with its quality; whether it is good enough says a `Gate`.

    Raises:
        RegistrationError: an image is constant or not finite, or the optimiser found no overlap.
        InputError: the images have another number of axes, or another kind.
        MissingExtraError: SimpleITK is not installed.
    """
    if kind not in get_args(RegistrationKind):
        raise InputError(f"registration {kind!r}: give one of {', '.join(get_args(RegistrationKind))}")
    axes = len(prior.grid.size)
    if len(current.grid.size) != axes:
        raise InputError(
            f"a prior image with {axes} axes and a current one with {len(current.grid.size)}: give two alike"
        )
    needed = kind != "none"
    fixed, moving = _prepared(prior, "prior", needed), _prepared(current, "current", needed)
    identity = np.eye(axes + 1)
    matrix = identity
    if needed:
        matrix = _optimised(fixed, moving, _best(fixed, moving, _starts(fixed, moving)), kind)
    return Registration(matrix, kind, _quality(fixed, moving, matrix))


def _prepared(image: Placed, which: str, needed: bool) -> Placed:
    """Clipped, averaged to about the wanted number of positions, with spacings as alike as whole factors allow."""
    values = image.values
    if not np.isfinite(values).all():
        raise RegistrationError(f"the {which} image holds values that are no numbers: it cannot be registered")
    axes = values.ndim
    step = (math.prod(image.grid.size) * image.grid.cell / _POSITIONS[axes]) ** (1 / axes)
    factors = [min(max(1, round(step / old)), n) for old, n in zip(image.grid.spacing, image.grid.size, strict=True)]
    kept = [n // factor for n, factor in zip(values.shape, factors, strict=True)]
    cut = values[tuple(slice(0, n * factor) for n, factor in zip(kept, factors, strict=True))]
    blocks = cut.reshape([side for pair in zip(kept, factors, strict=True) for side in pair])
    small = blocks.mean(axis=tuple(range(1, 2 * axes, 2)), dtype=np.float64)
    low, high = np.percentile(small, _PERCENTILES)
    if not high > low:
        low, high = float(small.min()), float(small.max())
    if not high > low and needed:
        raise RegistrationError(f"the {which} image is of one grey value: there is nothing to register by")
    affine = image.grid.affine @ np.diag([*map(float, factors), 1.0])
    affine[:-1, -1] = image.grid.places([(factor - 1) / 2 for factor in factors])
    scaled = (np.clip(small, low, high) - low) / ((high - low) or 1.0)
    return Placed(scaled.astype(np.float32), Grid(tuple(kept), affine))


def _starts(fixed: Placed, moving: Placed) -> Iterator[Matrix]:
    """Places as they are; middle on middle; centre of grey values on centre of grey values; pictures turned, too."""
    axes = len(fixed.grid.size)
    yield np.eye(axes + 1)
    centres = [(fixed.grid.centre, moving.grid.centre), (_mass(fixed), _mass(moving))]
    for here, there in centres:
        for angle in _START_ANGLES if axes == 2 else (0.0,):
            matrix = np.eye(axes + 1)
            turn = math.radians(angle)
            matrix[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
            matrix[:-1, -1] = there - matrix[:-1, :-1] @ here
            yield matrix


def _mass(image: Placed) -> Matrix:
    return image.grid.places(np.array(ndimage.center_of_mass(image.values)))


def _best(fixed: Placed, moving: Placed, ways: Iterable[Matrix]) -> Matrix:
    """The way with the most mutual information on a coarse grid, of those that overlap."""
    index = fixed.grid.every(_COARSE)
    coarse, values = fixed.grid.picked(index), fixed.values[index]

    def worth(matrix: Matrix) -> float:
        here = moving.covers(coarse, matrix)
        enough = here.mean() >= _START_OVERLAP
        return _mutual_information(values[here], moving.sampled(coarse, matrix)[here]) if enough else -1.0

    return max(ways, key=worth)


def _optimised(fixed: Placed, moving: Placed, start: Matrix, kind: RegistrationKind) -> Matrix:
    itk = _simple_itk()
    axes = len(fixed.grid.size)
    centre = fixed.grid.centre

    def rigid(pace: float) -> Matrix:
        transform = itk.Euler2DTransform() if axes == 2 else itk.VersorRigid3DTransform()
        transform.SetCenter(centre.tolist())
        if axes == 2:
            transform.SetAngle(math.atan2(start[1, 0], start[0, 0]))
        transform.SetTranslation((start[:-1, :-1] @ centre + start[:-1, -1] - centre).tolist())
        return _run(fixed, moving, transform, pace, _LEVELS)

    def affine(matrix: Matrix, pace: float) -> Matrix:
        transform = itk.AffineTransform(axes)
        transform.SetCenter(centre.tolist())
        transform.SetMatrix(matrix[:-1, :-1].ravel().tolist())
        transform.SetTranslation((matrix[:-1, :-1] @ centre + matrix[:-1, -1] - centre).tolist())
        return _run(fixed, moving, transform, pace, _LEVELS[1:])

    with _one_thread():
        found = _best(fixed, moving, [start, *(rigid(pace) for pace in _PACES)])
        if kind == "affine":
            found = _best(fixed, moving, [found, affine(found, _PACES[-1])])
    return found


def _simple_itk() -> Any:
    try:
        import SimpleITK
    except ModuleNotFoundError as error:
        raise MissingExtraError("SimpleITK", "volume", "registration") from error
    return SimpleITK


@contextmanager
def _one_thread() -> Iterator[None]:
    """ITK in one thread: sums of several are rounded differently from run to run."""
    itk = _simple_itk()
    before = itk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    itk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        itk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _itk(image: Placed) -> Any:
    """As an ITK image, whose index runs the other way round; its places are ours."""
    itk = _simple_itk()
    made = itk.GetImageFromArray(np.ascontiguousarray(image.values))
    steps = np.array(image.grid.spacing)
    made.SetSpacing(steps[::-1].tolist())
    made.SetDirection((image.grid.affine[:-1, :-1] / steps)[:, ::-1].ravel().tolist())
    made.SetOrigin(image.grid.affine[:-1, -1].tolist())
    return made


def _run(fixed: Placed, moving: Placed, transform: Any, pace: float, levels: tuple[int, ...]) -> Matrix:
    """Optimises a transform from coarse to fine, and returns its matrix."""
    itk = _simple_itk()
    size, step = fixed.grid.size, min(fixed.grid.spacing)
    levels = tuple(level for level in levels if level == 1 or min(size) // level >= _LEAST_SIDE)
    method = itk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(itk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step * levels[0] * pace,
        minStep=step * _CLOSEST,
        numberOfIterations=_ITERATIONS,
        relaxationFactor=_RELAXATION,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(levels)
    # At the finest level, too: interpolation smooths noise, and mutual information rewards that off the grid.
    method.SetSmoothingSigmasPerLevel([step * level for level in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(_itk(fixed), _itk(moving))
    except RuntimeError as error:
        raise RegistrationError(
            "registration failed: the images have too little in common where they overlap; look at both, or give"
            " --no-registration if they lie over each other as they are"
        ) from error
    axes = len(size)
    origin = np.array(transform.TransformPoint([0.0] * axes))
    matrix = np.eye(axes + 1)
    matrix[:-1, -1] = origin
    for axis, unit in enumerate(np.eye(axes).tolist()):
        matrix[:-1, axis] = np.array(transform.TransformPoint(unit)) - origin
    return matrix


def _quality(fixed: Placed, moving: Placed, matrix: Matrix) -> Quality:
    grid = fixed.grid
    axes = len(grid.size)
    alike = []
    for way in (np.eye(axes + 1), matrix):
        here = moving.covers(grid, way)
        pair = fixed.values[here], moving.sampled(grid, way)[here]
        alike.append((_correlation(*pair), _mutual_information(*pair)))
    left, stretch, right = np.linalg.svd(matrix[:-1, :-1])
    cosine = (np.trace(left @ right) - (axes - 2)) / 2  # the trace is 2 cos in a plane, 1 + 2 cos in space
    shift = float(np.linalg.norm(matrix[:-1, :-1] @ grid.centre + matrix[:-1, -1] - grid.centre))
    return Quality(
        correlation_before=alike[0][0],
        correlation=alike[1][0],
        mutual_information_before=alike[0][1],
        mutual_information=alike[1][1],
        overlap=float(moving.covers(grid, matrix).mean()),
        shift=shift,
        shift_share=shift / max(grid.extent),
        rotation=math.degrees(math.acos(min(1.0, max(-1.0, float(cosine))))),
        scale=float(max(stretch, key=lambda factor: abs(math.log(factor)))),
    )


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    if a.size < 2 or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return math.nan
    return float(np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1])


def _mutual_information(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Of values in [0, 1], in nats, from a joint histogram."""
    if a.size == 0:
        return 0.0
    joint = np.histogram2d(a, b, bins=_BINS, range=((0, 1), (0, 1)))[0] / a.size
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / independent[filled])).sum())
