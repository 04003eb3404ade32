"""A network of transformers that writes about pictures, with its processor: pictures and prompts in, passages out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cfcam.capture.state.guarantee import preserved
from cfcam.capture.state.keeping import Keeper
from cfcam.errors import InputError, LayerError, ModelError, OutputError, check_called, check_text, shown, whole_number
from cfcam.models.hugging_face import quiet
from cfcam.models.texts.blip import Blip2, BlipAnswers, BlipCaptions
from cfcam.models.texts.families import EncoderDecoder, Family, Git, Prompt
from cfcam.models.texts.grids import ImageGrid
from cfcam.models.texts.multimodal import (
    Gemma3,
    InternVL,
    InText,
    LlavaNext,
    PaliGemma,
    Pixtral,
    Qwen3VL,
    QwenVL,
    Tiled,
)
from cfcam.models.texts.passage import Passage, Written
from cfcam.models.texts.words import text_of, unknown_words
from cfcam.shown import counted

_FAMILIES: tuple[type[Family], ...] = (
    EncoderDecoder,
    BlipCaptions,
    BlipAnswers,
    Blip2,
    Git,
    Pixtral,
    InText,
    PaliGemma,
    Gemma3,
    LlavaNext,
    Tiled,
    InternVL,
    QwenVL,
    Qwen3VL,
)
MOST_TOKENS = 32
"""Tokens that are generated at most, unless told otherwise."""


class TextModel:
    """A network that writes captions or answers, and what prepares its pictures and texts.

    Args:
        model: of transformers, e.g. `VisionEncoderDecoderModel`, `BlipForConditionalGeneration`, `GitForCausalLM`,
            `LlavaForConditionalGeneration`; it is not changed.
        processor: of this model (``AutoProcessor.from_pretrained``), or its image processor, with ``tokenizer`` beside.
        tokenizer: None: the processor's.

    Attributes:
        spec: what named the network where it was loaded by name, for messages.

    Raises:
        ModelError: the network is of no family that is known here, or the tokenizer is missing.
    """

    spec = ""

    def __init__(self, model: nn.Module, processor: Any, tokenizer: Any = None) -> None:
        if not isinstance(model, nn.Module):
            raise ModelError(f"the model is {shown(model)}: give a network of transformers that writes about pictures")
        name = type(model).__name__
        family = next((one for one in _FAMILIES if one.knows(model)), None)
        if family is None:
            known = ", ".join(dict.fromkeys(kind for one in _FAMILIES for kind in one.types))
            raise ModelError(f"{name} is no network that is known to write about pictures; these are: {known}")
        if tokenizer is None:
            tokenizer = getattr(processor, "tokenizer", None)
        else:
            check_called(
                tokenizer, "the tokenizer", "that of the network, AutoTokenizer.from_pretrained(...)", ModelError
            )
        if tokenizer is not None and not hasattr(tokenizer, "convert_ids_to_tokens"):
            raise ModelError(
                f"the tokenizer is a {type(tokenizer).__name__}, which knows no tokens: TextModel(model, processor,"
                " tokenizer) takes them in this order"
            )
        if tokenizer is None:
            raise ModelError(
                f"{type(processor).__name__} has no tokenizer: give the network's,"
                " TextModel(model, processor, tokenizer)"
            )
        self.family = family(model, processor, tokenizer)
        self.model = model

    def passage(
        self,
        pictures: Any,
        prompt: str = "",
        text: str | None = None,
        *,
        others: Sequence[str] = (),
        most_tokens: int = MOST_TOKENS,
    ) -> Passage:
        """Returns pictures, prompt and texts as a network that `cfcam.explain` takes.

        Args:
            pictures: one picture (PIL, an array (H, W) or (H, W, 3), a `cfcam.imaging.Image`), or a list of pictures.
            prompt: a question, or how the text begins; of a family with a chat template it is put into that.
            text: what is explained; None: what the network generates (greedily), picture by picture.
            others: texts that are read in the same pass, to compare with.
            most_tokens: that are generated; a text that has not ended by then is cut.

        Raises:
            InputError: picture and prompt cannot be prepared, do not fit the network, or leave no room in its context;
                the tokenizer does not know a word of a text.
            LayerError: where the image tokens lie cannot be told.
        """
        check_text(prompt, "the prompt", meant='one text for all pictures, "" for none')
        if text is not None:
            check_text(text, "the text", meant="the words that are explained; None: what the network writes")
        if isinstance(others, str) or not isinstance(others, Sequence):
            raise InputError(f"others is {shown(others)}: give a list of texts")
        most_tokens = whole_number(most_tokens, "most_tokens", 1)
        seen = [as_picture(one) for one in (pictures if isinstance(pictures, (list, tuple)) else [pictures])]
        if not seen:
            raise InputError("no picture: give one, or several")
        import transformers

        with quiet(transformers):
            for picture in seen:
                self.family.seen(picture.size[1], picture.size[0])
            prompts = [self.family.prompt(picture, prompt) for picture in seen]
            for one in prompts:
                self._check_room(one, 1)
            given = [[self._given(each, one) for one in prompts] for each in ([] if text is None else [text, *others])]
            if text is None:
                given = [[self._generated(one, most_tokens) for one in prompts]]
                given += [[self._given(each, one) for one in prompts] for each in others]
            if len({prompt.x.shape for prompt in prompts}) > 1:
                shapes = " and ".join(sorted({" x ".join(map(str, prompt.x.shape[1:])) for prompt in prompts}))
                raise InputError(f"the pictures become inputs of {shapes}: explain them one at a time")
            first = prompts[0]
            device, kind = self._place()
            with self._pass(1):
                visual = {name: value.to(device) for name, value in first.visual.items()}
                tokens = self.family.encode(first.x.to(device, kind), visual)
            found = Passage(self.family, prompts, given, self._grid(prompts, tokens))
            found.spec = self.spec
            return found

    def seen(self, picture: Any) -> tuple[float, float, float, float]:
        """Returns which part of a picture the network gets, and maps lie on: top, left, bottom, right, in [0, 1]."""
        width, height = as_picture(picture).size
        return self.family.seen(height, width)

    def unknown(self, text: str) -> str:
        """Returns in words what of a text the tokenizer does not know, so that the network does not get it; "" if all.

        Args:
            text: a prompt, or what is to be explained.
        """
        words = ", ".join(map(repr, unknown_words(self.family.tokenizer, text)))
        mark = self.family.tokenizer.unk_token
        return words and f"the tokenizer does not know {words} (it becomes {mark})"

    def _grid(self, prompts: Sequence[Prompt], tokens: Tensor) -> ImageGrid:
        grid = self.family.grid(prompts[0], tokens)
        for other in prompts[1:]:
            try:
                same = self.family.grid(other, tokens) == grid
            except LayerError:
                same = False
            if not same:
                raise InputError("the pictures have image tokens of different grids: explain them one at a time")
        return grid

    def _place(self) -> tuple[torch.device, torch.dtype]:
        first = next(p for p in self.model.parameters() if p.is_floating_point())
        return first.device, first.dtype

    @contextmanager
    def _pass(self, images: int) -> Iterator[None]:
        """One pass without a graph; network and process are afterwards what they were."""
        device = self._place()[0]
        kept = Keeper(self.model).kept(device, images)
        with torch.inference_mode(False), torch.no_grad(), preserved(self.model, device), kept:
            yield

    def _check_room(self, prompt: Prompt, more: int) -> None:
        most = self.family.context
        if most is not None and len(prompt.ids) + more > most:
            what = f"the prompt is {counted(len(prompt.ids), 'token')} long" + (
                f", and the text {more}" if more > 1 else ""
            )
            raise InputError(f"{what}; the network's context holds {most}: shorten it (those of the picture count too)")

    def _check_marks(self, ids: Sequence[int]) -> None:
        if getattr(self.model.config, "image_token_id", None) in ids:
            raise OutputError(
                "the text holds the token that stands for a picture, which cannot be explained: give another, text=..."
            )

    def _given(self, text: str, prompt: Prompt) -> Written:
        ids = self.family.tokenizer(text, add_special_tokens=False)["input_ids"] if isinstance(text, str) else []
        if not ids:
            raise InputError(f"text {shown(text)} has no token that could be explained")
        if unknown := self.unknown(text):
            raise InputError(f"text {text!r}: {unknown}: give words that it knows, as it spells them")
        self._check_room(prompt, len(ids))
        self._check_marks(ids)
        return Written(replace(text_of(self.family.tokenizer, ids), given=text))

    def _generated(self, prompt: Prompt, most_tokens: int) -> Written:
        most = self.family.context
        room = most_tokens if most is None else min(most_tokens, most - len(prompt.ids))
        device, kind = self._place()
        given = {
            name: value.to(device, kind) if value.is_floating_point() else value.to(device)
            for name, value in self.family.generation(prompt).items()
        }
        with self._pass(1):
            found = self.model.generate(  # type: ignore[operator]
                **given,
                max_new_tokens=room,
                do_sample=False,
                num_beams=1,
                return_dict_in_generate=True,
                output_logits=True,
            )
        count = len(found.logits)
        ids = found.sequences[0, -count:].tolist() if count else []
        if not ids:
            raise OutputError("the network generated no token: give the text that is to be explained, text=...")
        self._check_marks(ids)
        steps = torch.stack([one[0].float() for one in found.logits]).log_softmax(1)
        own = steps[torch.arange(count), torch.tensor(ids, device=steps.device)]
        return Written(text_of(self.family.tokenizer, ids), tuple(own.tolist()), self._cut(ids, room, most_tokens))

    def _cut(self, ids: Sequence[int], room: int, most_tokens: int) -> str:
        """Why the network was stopped before it had ended its text; "" if it had."""
        ends = getattr(self.model.generation_config, "eos_token_id", None)
        if len(ids) < room or ids[-1] in (ends if isinstance(ends, (list, tuple)) else [ends]):
            return ""
        if room < most_tokens:
            return f"the text is cut at {counted(room, 'token')}, where the network's context ends"
        return f"the text is cut at {counted(room, 'token')}: give more (most_tokens=, --most-tokens)"


def as_picture(picture: Any) -> Any:
    """Returns a picture of bytes as PIL has it, in colour; raises `InputError` for what is none."""
    from PIL import Image

    pixels = getattr(picture, "pixels", picture)
    if isinstance(pixels, Image.Image):
        return pixels.convert("RGB")
    if isinstance(pixels, Tensor):
        raise InputError(
            "a picture is a tensor: give the picture itself (PIL, or bytes (H, W, 3)), not what is made of it"
        )
    try:
        array = np.asarray(pixels)
    except ValueError as error:  # lists of different lengths
        raise InputError(
            f"a picture is {shown(picture)}: give bytes (H, W) or (H, W, 3), PIL, or a cfcam.imaging.Image"
        ) from error
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise InputError(
            f"a picture is {array.dtype} {array.shape}: give bytes (H, W) or (H, W, 3), a PIL picture, or a"
            " cfcam.imaging.Image"
        )
    return Image.fromarray(array).convert("RGB")
