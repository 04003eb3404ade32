"""Does a map hold still when it should, and move when it should? Perturbations, and what maps do under them.

Everything random has a seed of its own, drawn image by image from the image's content: a batch equals its images one by
one, on every device, and the global random state is neither used nor changed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.functional.perturbation import image_seeds
from cfcam.metrics.functional.similarity import Similarity, comparison, soft_iou


def add_noise(x: Tensor, level: float, *, seed: int = 0) -> Tensor:
    """Returns images with Gaussian noise added: (N, C, *spatial).

    Args:
        x: (N, C, *spatial) network inputs.
        level: standard deviation of the noise, in standard deviations of the image (over channels and positions).
        seed: of the noise, together with the image's content.

    Raises:
        InputError: a negative level.

    Example:
        >>> add_noise(torch.tensor([[[0.0, 1.0, 0.0, 1.0]]]), 0.2)
        tensor([[[ 0.0788,  1.0371, -0.1710,  1.1392]]])
    """
    _check_level(level)
    sigma = level * x.flatten(1).std(1, correction=0)
    return x + _per_image(sigma, x) * _normal(x.shape[1:], image_seeds(x, seed)).to(x)


def shift(x: Tensor, pixels: int | Sequence[int]) -> Tensor:
    """Returns images moved along their axes, the border replicated: (N, C, *spatial); undo it by `unshift`.

    Args:
        x: (N, C, *spatial) network inputs.
        pixels: how far along each spatial axis, towards higher indices where positive; one number: on every axis.

    Raises:
        InputError: another number of axes, or a shift by a whole axis.

    Example:
        >>> shift(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), 1)
        tensor([[[1., 1., 2., 3.]]])
    """
    for axis, distance in enumerate(_distances(pixels, x.shape[2:]), start=2):
        source = torch.arange(x.shape[axis], device=x.device) - distance
        x = x.index_select(axis, source.clamp(0, x.shape[axis] - 1))
    return x


def unshift(maps: Tensor, pixels: int | Sequence[int]) -> Tensor:
    """Returns the maps of shifted images brought back over the originals: (B, *spatial).

    NaN marks what lies outside the region that both show, along the borders from which the image was moved in;
    `stability` and `responsiveness` compare the rest, and ``~unshifted.isnan()`` is its mask.

    Args:
        maps: (B, *spatial) at the images' size.
        pixels: as given to `shift`.

    Raises:
        InputError: another number of axes, or a shift by a whole axis.

    Example:
        >>> unshift(torch.tensor([[0.1, 0.2, 0.3, 0.4]]), 1)
        tensor([[0.2000, 0.3000, 0.4000,    nan]])
    """
    for axis, distance in enumerate(_distances(pixels, maps.shape[1:]), start=1):
        size = maps.shape[axis]
        source = torch.arange(size, device=maps.device) + distance
        outside = ((source < 0) | (source >= size)).reshape([-1 if a == axis else 1 for a in range(maps.ndim)])
        maps = maps.index_select(axis, source.clamp(0, size - 1)).masked_fill(outside, torch.nan)
    return maps


def jpeg(x: Tensor, quality: int) -> Tensor:
    """Returns images after JPEG compression: (N, C, H, W).

    The range of each image, over its channels together, becomes 0 to 255 and back. A constant image, and one that is
    not finite, comes back as it is.

    Args:
        x: (N, C, H, W) network inputs of 1 (grey) or 3 (RGB) channels.
        quality: 1 (smallest file) to 95, as for PIL; colours are stored at half the resolution.

    Raises:
        InputError: JPEG has no such images, or no such quality.

    Example:
        >>> x = torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16)
        >>> 0 < (jpeg(x, 30) - x).abs().max() < 0.2
        tensor(True)
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise InputError(f"JPEG holds 2-D images of 1 or 3 channels, not {tuple(x.shape)}: leave this perturbation out")
    if not 1 <= quality <= 95:
        raise InputError(f"a JPEG quality of {quality}: give 1 to 95")
    low, extent = _range(x)
    usable = extent > 0  # false for NaN and constant images
    shares = torch.where(usable, (x - low) / extent, 0)
    return torch.where(usable, through_jpeg(shares, quality) * extent + low, x)


def through_jpeg(shares: Tensor, quality: int) -> Tensor:
    """Returns pictures (N, C, H, W) in [0, 1], of 1 or 3 channels, after JPEG compression."""
    pixels = (shares * 255).round().to(torch.uint8)
    coded = np.stack([_through_jpeg(image, quality) for image in pixels.permute(0, 2, 3, 1).cpu().numpy()])
    return torch.from_numpy(coded).permute(0, 3, 1, 2).to(shares) / 255


def window(x: Tensor, width: float = 0.9, centre: float = 0.05) -> Tensor:
    """Returns images seen through another intensity window, as a radiograph is: (N, C, *spatial).

    The window's values become the image's range again, and what lies outside is clipped. Width 0.9 and centre 0.05 give
    11 % more contrast, and clip a tenth of the range at its dark end.

    Args:
        x: (N, C, *spatial) network inputs.
        width: of the window, as a share of each image's range.
        centre: of the window, away from the middle of that range, as a share of it.

    Raises:
        InputError: a width that is not above 0.

    Example:
        >>> window(torch.tensor([[[0.0, 0.1, 0.55, 1.0]]]), 0.9, 0.05)
        tensor([[[0.0000, 0.0000, 0.5000, 1.0000]]])
    """
    if not width > 0:
        raise InputError(f"a window width of {width}: give a share of the image's range above 0")
    low, extent = _range(x)
    bottom = low + (0.5 + centre - width / 2) * extent
    share = ((x - bottom) / (width * extent)).clamp(0, 1)
    return torch.where(extent == 0, x, share * extent + low)


def noisy_gradients(gradients: Tensor, level: float = 3.0, *, seed: int | Sequence[int] = 0) -> Tensor:
    """Returns gradients with Gaussian noise added: (N, K, C, *spatial).

    The noise is independent at every channel and position. Its size is ``level`` times the standard deviation of the
    image's and target's gradient over channels and positions together: behind global average pooling the gradient of a
    channel is constant in space, and its own deviation would be 0; and the gradients of a confident image are smaller
    by orders of magnitude, so an absolute level would mean something else for each. It is to be added before a method
    weights or clusters anything: noise behind that leaves every map as it was.

    Args:
        gradients: (N, K, C, *spatial), as `Capture.gradients`.
        level: standard deviation of the noise, in standard deviations of the gradient.
        seed: one for each image (`image_seeds`), or one for all, which then get the same draw. The K targets of an
            image always share theirs: many targets equal one at a time.

    Raises:
        InputError: a negative level, or another number of seeds than images.

    Example:
        >>> noisy_gradients(torch.tensor([[[[1.0, 1.0], [3.0, 3.0]]]]), 0.1)
        tensor([[[[1.1541, 0.9707],
                  [2.7821, 3.0568]]]])
    """
    _check_level(level)
    seeds = [seed] if isinstance(seed, int) else list(seed)
    if len(seeds) not in (1, len(gradients)):
        raise InputError(f"{len(seeds)} seeds for the gradients of {len(gradients)} images: give one, or one for each")
    sigma = level * gradients.flatten(2).std(2, correction=0)
    noise = _normal(gradients.shape[2:], seeds).to(gradients).unsqueeze(1)
    return gradients + sigma.reshape(*sigma.shape, *[1] * (gradients.ndim - 2)) * noise


def stability(original: Tensor, perturbed: Tensor, unchanged: Tensor, similarity: Similarity = "soft_iou") -> Tensor:
    """Returns (B,) how alike two maps of an image are whose prediction stayed; higher is better.

    1: the map did not move. NaN where the prediction changed: there the map should move, see `responsiveness`. A
    constant map is perfectly stable: read it beside the controls and the other groups.

    Args:
        original: (B, *spatial).
        perturbed: (B, *spatial) of the perturbed input or gradients; borders that are NaN in all of them (`unshift`)
            are left out of both, and each map is scaled within the rest.
        unchanged: (B,) bool, the predicted class is the same.
        similarity: "soft_iou", "pearson", "ssim", or a function of two batches of maps. SSIM alone is misleading.

    Raises:
        InputError: the shapes do not fit, or the similarity is unknown.

    Source: conditioning on unchanged predictions as Feature Attribution Stability Suite, arXiv 2604.02532.

    Example:
        >>> original = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
        >>> perturbed = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
        >>> stability(original, perturbed, torch.tensor([True, False]))
        tensor([0.6667,    nan])
    """
    _check_flags(unchanged, original)
    return torch.where(unchanged, comparison(similarity)(*_shown_by_both(original, perturbed)), torch.nan)


def responsiveness(original: Tensor, flipped_map: Tensor, flipped: Tensor) -> Tensor:
    """Returns (B,) how much the map moved where the predicted class flipped: ``1 - soft IoU``; higher is better.

    Between 0 (the same map although the answer is another: a constant map is not robust) and 1; NaN where the class
    did not flip.

    Args:
        original: (B, *spatial) of the class predicted at first.
        flipped_map: (B, *spatial) of the class predicted for the perturbed input; NaN borders as in `stability`.
        flipped: (B,) bool, the predicted class is another.

    Raises:
        InputError: the shapes do not fit.

    Source: arXiv 2508.18154.

    Example:
        >>> original = torch.tensor([[0.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
        >>> responsiveness(original, torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), torch.tensor([True, True]))
        tensor([1., 0.])
    """
    _check_flags(flipped, original)
    return torch.where(flipped, 1 - soft_iou(*_shown_by_both(original, flipped_map)), torch.nan)


def max_sensitivity_inputs(x: Tensor, radius: float, samples: int, *, seed: int = 0) -> Iterator[Tensor]:
    """Yields perturbed inputs (N, C, *spatial), drawn uniformly from the L-infinity ball around each image.

    As Captum's `sensitivity_max` and Quantus' `MaxSensitivity` draw them: every value moves by up to ``radius``.

    Args:
        x: (N, C, *spatial) network inputs.
        radius: in units of the network's input.
        samples: how many to draw.
        seed: of the draws, together with the image's content.

    Raises:
        InputError: a negative radius.

    Example:
        >>> next(max_sensitivity_inputs(torch.tensor([[[0.0, 0.5, 1.0]]]), 0.1, 1))
        tensor([[[0.0293, 0.4165, 1.0889]]])
    """
    _check_level(radius)
    generators = [torch.Generator().manual_seed(s) for s in image_seeds(x, seed)]

    def draw() -> Tensor:
        return torch.stack([torch.rand(x.shape[1:], generator=generator) for generator in generators]).to(x)

    return (x + radius * (2 * draw() - 1) for _ in range(samples))


def max_sensitivity(original: Tensor, perturbed: Tensor) -> Tensor:
    """Returns (B,) the largest relative change of a map near its input; lower is better, 0 at best.

    ``max_r ||M_r - M|| / ||M||`` with the Euclidean norm. NaN where the original is not finite or has no positive
    evidence, or one of the others is not finite. One that vanished counts: it changed by 1.

    Args:
        original: (B, *spatial).
        perturbed: (R, B, *spatial) of inputs as from `max_sensitivity_inputs`, explained for the same class.

    Raises:
        InputError: the shapes do not fit.

    Source: Yeh et al. 2019, arXiv 1901.09392, eq. 2; divided by the norm of the map, as in Captum and Quantus.

    Example:
        >>> max_sensitivity(torch.tensor([[3.0, 4.0]]), torch.tensor([[[3.0, 5.0]], [[0.0, 4.0]]]))
        tensor([0.6000])
    """
    if perturbed.ndim != original.ndim + 1 or perturbed.shape[1:] != original.shape or not len(perturbed):
        raise InputError(
            f"maps {tuple(perturbed.shape)} of perturbed inputs for originals {tuple(original.shape)}: give"
            " (R, B, *spatial), R at least 1"
        )
    flat = original.flatten(1).float()
    change = (_length(perturbed.flatten(2).float() - flat).amax(0) / _length(flat)).float()
    assessed = flat.isfinite().all(1) & (flat > 0).any(1) & perturbed.flatten(2).isfinite().all(2).all(0)
    return torch.where(assessed, change, torch.nan)


def _length(rows: Tensor) -> Tensor:
    """Returns the Euclidean norms over the last axis, whose squares are added up one by one, in double precision."""
    return torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float64)


def _normal(shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Returns (len(seeds), *shape) of standard normal noise; on the CPU, so that every device gets the same."""
    return torch.stack([torch.randn(tuple(shape), generator=torch.Generator().manual_seed(s)) for s in seeds])


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _range(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the smallest value of each image and the extent of its values, (N, 1, ...)."""
    flat = x.flatten(1)
    low = flat.amin(1)
    return _per_image(low, x), _per_image(flat.amax(1) - low, x)


def _through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Returns an image (H, W, C) after compression."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(image.shape)


def _shown_by_both(original: Tensor, perturbed: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both without the borders at which every perturbed map is NaN; if that is everything, as they are."""
    if original.shape != perturbed.shape:
        raise InputError(
            f"maps {tuple(original.shape)} and {tuple(perturbed.shape)} cannot be compared: give (B, *spatial) of one"
            " shape"
        )
    shown = (~perturbed.isnan()).any(0)
    places = shown.nonzero()
    if not len(places):
        return original, perturbed
    first, last = places.amin(0).tolist(), places.amax(0).tolist()
    box = (slice(None), *(slice(low, high + 1) for low, high in zip(first, last, strict=True)))
    return original[box], perturbed[box]


def _distances(pixels: int | Sequence[int], size: Sequence[int]) -> list[int]:
    distances = [pixels] * len(size) if isinstance(pixels, int) else list(pixels)
    if len(distances) != len(size) or any(abs(d) >= s for d, s in zip(distances, size, strict=True)):
        raise InputError(f"a shift of {distances} for images of {tuple(size)}: give one per axis, less than the axis")
    return distances


def _check_level(level: float) -> None:
    if not level >= 0:
        raise InputError(f"a perturbation of size {level}: give 0 or more")


def _check_flags(flags: Tensor, maps: Tensor) -> None:
    if flags.dtype is not torch.bool or flags.shape != maps.shape[:1]:
        raise InputError(
            f"flags {tuple(flags.shape)} of {flags.dtype} for {len(maps)} maps: give one bool for each, (B,)"
        )
