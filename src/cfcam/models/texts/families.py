"""Families of transformers' networks that write text about a picture: one function for the picture, one for the text.

Each is called in two steps: pictures to image tokens (N, P, C), and image tokens with texts to logits. What lies
between is one tensor, at one place, in all of them: the image tokens as that part gets them that writes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from cfcam.errors import InputError, ModelError
from cfcam.models.texts.grids import ImageGrid, patches, sides

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Prompt:
    """What is given for one picture before the text.

    Attributes:
        ids: tokens before the text, those of the picture among them where they stand in one sequence.
        x: (1, C, H, W) the picture for the network, or its tiles (1, tiles, C, H, W).
        visual: what else the network is told of the picture, each (1, ...).
        along: what else it is told of each token of ``ids``, each (1, L).
        question: tokens of a question that is read apart from the text; () if it stands before it.
    """

    ids: tuple[int, ...]
    x: Tensor
    visual: Tensors = field(default_factory=dict)
    along: Tensors = field(default_factory=dict)
    question: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rows:
    """Texts of a batch, a row each, filled up behind their ends.

    Attributes:
        ids: (M, L).
        mask: (M, L) 1 for tokens, 0 behind the end.
        along: see `Prompt`, each (M, L).
        visual: see `Prompt`, each (M, ...).
        question: (M, Q) and its mask, of a question that is read apart.
        keep: logits of how many last places are needed.
    """

    ids: Tensor
    mask: Tensor
    along: Tensors
    visual: Tensors
    question: tuple[Tensor, Tensor] | None
    keep: int


class Family(ABC):
    """How networks of one kind are called.

    Args:
        model: the network.
        processor: prepares pictures and texts as it was trained with; of a picture alone, with a tokenizer beside it.
        tokenizer: turns texts into ids.
    """

    types: ClassVar[tuple[str, ...]]
    """Names of the classes of transformers that it is for."""

    inside: ClassVar[str | None] = None
    """The layer that returns the image tokens, where the network takes none from outside; then `whole` is called."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any) -> None:
        self.model, self.processor, self.tokenizer = model, processor, tokenizer

    @classmethod
    def knows(cls, model: Any) -> bool:
        """Returns whether it is for this network."""
        return type(model).__name__ in cls.types

    @property
    @abstractmethod
    def writer(self) -> Any:
        """The configuration of the part that writes."""

    @property
    def context(self) -> int | None:
        """Most tokens that the part that writes can take, the picture's in one sequence among them; None: not known."""
        found = getattr(self.writer, "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    @abstractmethod
    def prompt(self, picture: Any, text: str) -> Prompt:
        """Returns what is given for one picture, and a prompt or a question that may be empty."""

    @abstractmethod
    def encode(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns the image tokens (N, P, C)."""

    @abstractmethod
    def decode(self, tokens: Tensor, rows: Rows) -> Tensor:
        """Returns logits (M, S, vocabulary) of the last S places, for image tokens (M, P, C)."""

    def whole(self, x: Tensor, rows: Rows) -> Tensor:
        """Returns what `decode` would, for pictures (N, ...) and a multiple of N rows, text after text."""
        raise NotImplementedError

    @abstractmethod
    def generation(self, prompt: Prompt) -> dict[str, Tensor]:
        """Returns what ``generate`` is called with."""

    @abstractmethod
    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns where image tokens (1, P, C) lie; raises `LayerError` if it cannot be told."""

    def image_places(self, ids: Tensor, count: int) -> Tensor | None:
        """Returns where image tokens stand among the places of one row whose logits are known; None: in no sequence.

        Args:
            ids: (L,) of the row.
            count: of its places with logits.
        """
        return None

    def extended(self, name: str) -> int:
        """Returns what a token of the text is in one of `Prompt.along`."""
        return 0

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Returns which part of a picture the network gets: top, left, bottom and right, in [0, 1].

        Raises:
            InputError: the processor pads pictures of this shape, so that maps would not lie on them.
        """
        owner = getattr(self.processor, "image_processor", self.processor)
        size, crop = _said(owner, "size"), _said(owner, "crop_size")
        if getattr(owner, "do_pad", None) and size and (size.get("height"), size.get("width")) != (height, width):
            due = size.get("height", 1) / (size.get("width") or 1)
            if abs(height / width - due) > 0.01:
                raise InputError(
                    f"the processor pads a picture of {height} x {width} to another shape, and maps would not lie on"
                    " it: give it padded already, or set do_pad to False"
                )
        if not getattr(owner, "do_center_crop", None) or not crop:
            return 0.0, 0.0, 1.0, 1.0
        short = min(height, width)
        edge = size.get("shortest_edge")
        resized = (height * edge / short, width * edge / short) if edge else (size["height"], size["width"])
        down, across = (min(1.0, crop[name] / n) for name, n in zip(("height", "width"), resized, strict=True))
        return (1 - down) / 2, (1 - across) / 2, (1 + down) / 2, (1 + across) / 2

    def pixels(self, picture: Any) -> Tensor:
        """Returns what the processor makes of a picture alone, (1, C, H, W)."""
        owner = getattr(self.processor, "image_processor", self.processor)
        return self._sized(processed(owner, images=picture)["pixel_values"], self._vision)

    @property
    def _vision(self) -> Any:
        """The configuration of the part that looks."""
        return self.model.config.vision_config

    @staticmethod
    def _sized(x: Tensor, config: Any) -> Tensor:
        """Returns pictures (..., H, W) that have the size which a configuration states; others raise `InputError`."""
        due, got = sides(getattr(config, "image_size", None)), tuple(x.shape[-2:])
        if due is not None and got != due:
            raise InputError(
                f"the processor gives pictures of {got[0]} x {got[1]}, and the network takes {due[0]} x {due[1]}: give"
                " the processor that belongs to the network (or set its size)"
            )
        return x

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()


def _said(owner: Any, name: str) -> dict[str, int]:
    """Returns a size that an image processor states, {} without any."""
    found = getattr(owner, name, None)
    return {k: int(v) for k, v in dict(found).items() if v is not None} if found else {}


def processed(processor: Any, **given: Any) -> Any:
    """Returns what a processor makes of pictures and texts; its complaints are one line."""
    try:
        return processor(return_tensors="pt", **given)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{type(processor).__name__} cannot prepare this picture and prompt ({type(error).__name__}: {reason}):"
            " give one picture for each prompt, and the processor that belongs to the network"
        ) from error


class EncoderDecoder(Family):
    """``VisionEncoderDecoderModel``: ViT-GPT2, TrOCR, Donut; the text part looks at all of the encoder's tokens."""

    types = ("VisionEncoderDecoderModel",)

    @property
    def writer(self) -> Any:
        """The decoder's."""
        return self.model.config.decoder

    @property
    def _vision(self) -> Any:
        return self.model.config.encoder

    def prompt(self, picture: Any, text: str) -> Prompt:
        """Returns the picture, and the prompt behind the token with which texts start."""
        settings = self.model.generation_config, self.model.config, self.writer
        names = ("decoder_start_token_id", "bos_token_id")
        start = next((found for n in names for s in settings if (found := getattr(s, n, None)) is not None), None)
        if start is None:
            raise ModelError(
                "the network's configuration has no decoder_start_token_id: set model.config.decoder_start_token_id to"
                " the token with which texts were started in training"
            )
        return Prompt((int(start), *self._ids(text)), self.pixels(picture))

    def encode(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns the encoder's last hidden state, which all of the decoder looks at."""
        found: Tensor = self.model.encoder(pixel_values=x)[0]
        return found

    def decode(self, tokens: Tensor, rows: Rows) -> Tensor:
        """Returns the decoder's logits."""
        found: Tensor = self.model(
            encoder_outputs=(tokens,), decoder_input_ids=rows.ids, decoder_attention_mask=rows.mask, use_cache=False
        ).logits
        return found

    def generation(self, prompt: Prompt) -> dict[str, Tensor]:
        """Returns the picture, and the ids that texts start with."""
        return {"pixel_values": prompt.x, "decoder_input_ids": torch.tensor([prompt.ids])}

    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns the encoder's patches."""
        return patches(self._vision, prompt.x.shape[-2:], tokens.shape[1])


class Git(Family):
    """GIT: image tokens before the text, in one sequence (arXiv 2205.14100, section 3.1)."""

    types = ("GitForCausalLM",)
    inside = "git.visual_projection"

    @property
    def writer(self) -> Any:
        """The network's own."""
        return self.model.config

    def prompt(self, picture: Any, text: str) -> Prompt:
        """Returns the picture, and the prompt behind the class token with which texts start."""
        start = self.tokenizer.cls_token_id
        start = self.model.config.bos_token_id if start is None else start
        return Prompt((start, *self._ids(text)), self.pixels(picture))

    def encode(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns the projected tokens of the part that looks."""
        found: Tensor = self.model.git.visual_projection(self.model.git.image_encoder(x).last_hidden_state)
        return found

    def decode(self, tokens: Tensor, rows: Rows) -> Tensor:
        """Is never called: GIT takes no tokens from outside."""
        raise NotImplementedError

    def image_places(self, ids: Tensor, count: int) -> Tensor:
        """Returns the places before the text."""
        return torch.arange(count - len(ids), device=ids.device)

    def whole(self, x: Tensor, rows: Rows) -> Tensor:
        """Returns the logits, those of the last places; GIT itself repeats its image tokens for further texts."""
        found: Tensor = self.model(
            input_ids=rows.ids, attention_mask=rows.mask, pixel_values=x, use_cache=False, logits_to_keep=rows.keep
        ).logits
        return found

    def generation(self, prompt: Prompt) -> dict[str, Tensor]:
        """Returns the picture and the prompt."""
        ids = torch.tensor([prompt.ids])
        return {"pixel_values": prompt.x, "input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns the patches of the part that looks, behind its class token."""
        return patches(self._vision, prompt.x.shape[-2:], tokens.shape[1], least=1)
