"""Networks that embed: how near an image is to another one, or to a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cfcam.capture.adapter import call, unwrapped
from cfcam.capture.answers.outputs import find_tensor
from cfcam.capture.half_precision import at_least_float32
from cfcam.capture.state.guarantee import preserved
from cfcam.capture.state.keeping import Keeper
from cfcam.capture.targets.scores import FirstPass, ImageScore, ScoreTarget
from cfcam.errors import InputError, TargetError

Embedding = str | Callable[[Any], Tensor] | None
_EMBEDDINGS = ("image_embeds", "text_embeds", "pooler_output", "embeddings", "embedding", "logits")


@contextmanager
def _one_pass(network: nn.Module, device: torch.device, images: int) -> Iterator[None]:
    """Runs one pass in its body, without a graph; network and process are afterwards what they were."""
    with torch.inference_mode(False), torch.no_grad(), preserved(network, device), Keeper(network).kept(device, images):
        yield


@dataclass(frozen=True, eq=False)
class Similarity(ScoreTarget, ImageScore):
    """Cosine of the angle between the embedding of an image and a reference, in [-1, 1].

    Args:
        reference: (E,) for every image, or (N, E) image by image. `to_image` and `to_text` compute one.
        of: where the embedding is in what the network returns: a key, a callable that gives it, or None: the tensor
            itself, or the first of image_embeds, text_embeds, pooler_output, embedding, logits.
        words: what is explained, as shown to people.

    Source: for images, Stylianou et al. 2019, "Visualizing deep similarity networks", arXiv 1901.00536; for image and
    text, the score of Radford et al. 2021, "CLIP", arXiv 2103.00020.
    """

    asked: ClassVar[str] = "a likeness to a reference"
    needs_logits: ClassVar[bool] = False
    reference: Any
    of: Embedding = None
    words: str = "similarity"

    def __post_init__(self) -> None:
        reference = torch.as_tensor(self.reference).detach()
        if reference.ndim not in (1, 2) or reference.numel() == 0 or not reference.is_floating_point():
            raise TargetError(
                f"the reference has shape {tuple(reference.shape)} and type {reference.dtype}: give a floating (E,) for"
                " all images, or (N, E) image by image"
            )
        lengths = at_least_float32(reference).norm(dim=-1)
        if not bool((lengths.isfinite() & (lengths > 0)).all()):
            raise TargetError("the reference is 0 or not finite, and has no direction: check how it was computed")
        object.__setattr__(self, "reference", reference)

    @classmethod
    def to_image(cls, model: nn.Module, image: Tensor, of: Embedding = None, words: str = "similarity") -> Similarity:
        """Returns the similarity to another image, which the network embeds once, here.

        Args:
            model: the network that will be explained.
            image: (1, C, *spatial): the same for every image; (N, C, *spatial): image by image.
            of: see `Similarity`.
            words: see `Similarity`.
        """
        network = unwrapped(model)
        first = next((p for p in network.parameters() if p.is_floating_point()), image)
        with _one_pass(network, first.device, len(image)):
            reference = _embedding(call(network, image.to(first, copy=True), None, network), of)
        return cls(reference[0] if len(image) == 1 else reference, of, words)

    @classmethod
    def to_text(
        cls, model: nn.Module, tokens: Mapping[str, Tensor], of: Embedding = None, words: str = "similarity"
    ) -> Similarity:
        """Returns the similarity to a text, which the network embeds once, here.

        Args:
            model: one with `get_text_features`, as CLIP and SigLIP in transformers, or its `ImageTower`.
            tokens: what its tokenizer gives for one text (``input_ids`` (1, T) and so on), or for N.
            of: where the *image's* embedding is; see `Similarity`.
            words: see `Similarity`, e.g. the text.

        Raises:
            InputError: the model embeds no texts.
        """
        network = unwrapped(model)
        network = network.model if isinstance(network, ImageTower) else network
        embed = _feature_function(network, "get_text_features")
        device = next(network.parameters()).device
        with _one_pass(network, device, 1):
            reference = _embedding(embed(**{name: t.to(device, copy=True) for name, t in tokens.items()}), None)
        return cls(reference[0] if len(reference) == 1 else reference, of, words)

    @property
    def name(self) -> str:
        """What is explained, as shown to people."""
        return self.words

    def check(self, batch: int, spatial: Any) -> None:
        """Raises `TargetError` for references of another number of images."""
        if self.reference.ndim == 2 and len(self.reference) != batch:
            raise TargetError(
                f"the reference has shape {tuple(self.reference.shape)} for {batch} images: give (E,) for all images,"
                f" or ({batch}, E) image by image"
            )

    def resolve(self, first: FirstPass) -> list[ImageScore]:
        """Returns itself; raises `TargetError` if the network's embeddings are not of the reference's length."""
        found = _embedding(first.output, self.of).shape[1]
        if found != self.reference.shape[-1]:
            raise TargetError(
                f"the network embeds in {found} numbers, and the reference has {self.reference.shape[-1]}: compute it"
                " with the same network (Similarity.to_image, Similarity.to_text)"
            )
        return [self]

    def __call__(self, output: Any, logits: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        """Returns the cosines (M,); see `ImageScore`."""
        own = at_least_float32(_embedding(output, self.of))
        reference = self.reference.to(own)
        reference = reference if reference.ndim == 1 else reference[images]
        return torch.cosine_similarity(own, reference.expand_as(own), dim=1)


class ImageTower(nn.Module):
    """The image side of a model with two towers (CLIP, SigLIP, …), as a network of one batch of images.

    Args:
        model: one with `get_image_features`; it is not changed. Its layers are named with ``model.`` before.

    Raises:
        InputError: the model has no such method.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        _feature_function(model, "get_image_features")
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Returns the embeddings (N, E) of images (N, C, H, W)."""
        return _embedding(_feature_function(self.model, "get_image_features")(pixel_values=pixel_values), None)


def _feature_function(model: nn.Module, name: str) -> Callable[..., Any]:
    function = getattr(model, name, None)
    if function is None:
        raise InputError(
            f"{type(model).__name__} has no {name}(): give a model of images and texts as transformers' CLIPModel, or"
            " compute the embedding yourself and pass it to Similarity(reference)"
        )
    return function


def _embedding(output: Any, of: Embedding) -> Tensor:
    """Returns the embeddings (N, E) in what a network returned."""
    found: Any
    if callable(of):
        found = of(output)
    elif of is None:
        found = find_tensor(output, _EMBEDDINGS)
    else:
        found = output.get(of) if isinstance(output, Mapping) else getattr(output, of, None)
    if not isinstance(found, Tensor) or found.ndim != 2:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        known = f", which holds {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        raise TargetError(
            f"the network's output ({type(output).__name__}{known}) gives {got} for an embedding, not (N, E): say where"
            " it is, e.g. Similarity(reference, of='pooler_output')"
        )
    return found
