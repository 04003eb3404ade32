"""Language models that read a picture's tokens among those of the text: LLaVA, PaliGemma, Qwen-VL, SmolVLM."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from cfcam.errors import InputError, ModelError
from cfcam.models.texts.families import Family, Prompt, Rows, Tensors, processed
from cfcam.models.texts.grids import ImageGrid, any_resolution, merged, patches, sides, square, tiles

_IN_TEXT = ("token_type_ids", "mm_token_type_ids")


class InText(Family):
    """Any of them: image tokens stand in the places that the processor kept for them, and are given from outside."""

    types: ClassVar[tuple[str, ...]] = ("LlavaForConditionalGeneration",)
    _seen: ClassVar[tuple[str, ...]] = ()
    """What else the part that looks is told of the picture."""

    _beside: ClassVar[tuple[str, ...]] = ()
    """What of that the language model asks for, too."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any) -> None:
        super().__init__(model, processor, tokenizer)
        if "mm_encoder_outputs" not in inspect.signature(model.forward).parameters:
            raise ModelError(
                f"{type(model).__name__} of this transformers takes no image tokens from outside (mm_encoder_outputs):"
                " upgrade transformers"
            )

    @property
    def writer(self) -> Any:
        """The language model's."""
        return self.model.config.get_text_config()

    def prompt(self, picture: Any, text: str) -> Prompt:
        """Returns picture and prompt in the form in which the processor was told that they come."""
        given = processed(self.processor, images=[picture], text=[self._formed(text)])
        mask = given.get("attention_mask")
        if mask is not None and not bool(mask.all()):
            raise InputError("the processor padded a single prompt: set its padding to False")
        along = {name: given[name] for name in _IN_TEXT if name in given}
        visual = {name: given[name] for name in self._seen if name in given}
        x = self._picture(given["pixel_values"], visual)
        return Prompt(tuple(given["input_ids"][0].tolist()), x, visual, along)

    def _formed(self, text: str) -> str:
        mark = str(getattr(self.processor, "image_token", "<image>"))
        if mark in text:
            return text
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, *([{"type": "text", "text": text}] if text else [])]
            formed = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            return str(formed)
        return f"{mark}\n{text}" if text else mark

    def _picture(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns what the processor made of the picture, as the network of cfcam is given it."""
        return self._sized(x, self._vision)

    def _given(self, x: Tensor, visual: Tensors) -> dict[str, Any]:
        """Returns what the part that looks is called with."""
        return {"pixel_values": x, **visual}

    def encode(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns the picture's tokens, projected into the language model."""
        found = self.model.get_image_features(**self._given(x, visual), return_dict=True).pooler_output
        if isinstance(found, Tensor):
            return found.reshape(len(x), -1, found.shape[-1])
        if len({len(one) for one in found}) > 1:
            raise InputError("the pictures have different numbers of image tokens: explain them one at a time")
        return torch.stack([one.reshape(-1, one.shape[-1]) for one in found])

    def _handed(self, tokens: Tensor) -> Any:
        """Returns image tokens in the form in which this network has them."""
        return list(tokens)

    def _seen_by(self, tokens: Tensor) -> Any:
        """Returns what the part that looks would give to the language model."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return BaseModelOutputWithPooling(pooler_output=self._handed(tokens))

    def decode(self, tokens: Tensor, rows: Rows) -> Tensor:
        """Returns the logits of the last places."""
        others = {name: rows.visual[name] for name in self._beside if name in rows.visual}
        found: Tensor = self.model(
            input_ids=rows.ids,
            attention_mask=rows.mask,
            mm_encoder_outputs={"image": self._seen_by(tokens)},
            logits_to_keep=rows.keep,
            use_cache=False,
            **rows.along,
            **others,
        ).logits
        return found

    def image_places(self, ids: Tensor, count: int) -> Tensor:
        """Returns where the processor kept places for image tokens."""
        return (ids == self.model.config.image_token_id).nonzero()[:, 0]

    def generation(self, prompt: Prompt) -> dict[str, Tensor]:
        """Returns what the processor gave."""
        ids = torch.tensor([prompt.ids])
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            **prompt.along,
            **self._given(prompt.x, prompt.visual),
        }

    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns the patches of the part that looks; a class token stays where the configuration keeps it."""
        return patches(self._vision, prompt.x.shape[-2:], tokens.shape[1])


class Pixtral(InText):
    """Pixtral's tower, in LLaVA or Mistral 3: pictures of their own size (arXiv 2410.07073, section 2.2)."""

    types = ("LlavaForConditionalGeneration", "Mistral3ForConditionalGeneration")
    _seen = ("image_sizes",)

    @classmethod
    def knows(cls, model: Any) -> bool:
        """Returns whether it is one of these, with this tower."""
        return super().knows(model) and getattr(model.config.vision_config, "model_type", "") == "pixtral"

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Returns all of the picture."""
        return 0.0, 0.0, 1.0, 1.0

    def encode(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns the picture's tokens, one picture after another: together they would be one sequence.

        There the tower masks what is another picture's with a large number, which does not hold what is no number, and
        takes time for it.
        """
        every = zip(x.split(1), visual["image_sizes"].split(1), strict=True)
        return torch.cat([super(Pixtral, self).encode(one, {"image_sizes": size}) for one, size in every])

    def _picture(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns the picture without what was padded to the right and below."""
        height, width = (int(n) for n in visual["image_sizes"][0])
        if len(x) != 1:
            raise InputError(f"the processor gives {len(x)} pictures for one: give one picture")
        return x[..., :height, :width]

    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns the patches, or the groups of patches that Mistral 3 merges."""
        patch, merge = self._vision.patch_size, getattr(self.model.config, "spatial_merge_size", 1)
        height, width = (n // patch for n in prompt.x.shape[-2:])
        return merged((1, height, width), merge, patch, tokens.shape[1])


class PaliGemma(InText):
    """PaliGemma: picture and prompt see each other, and the text behind them is causal (arXiv 2407.07726, 3.1)."""

    types = ("PaliGemmaForConditionalGeneration",)

    def _formed(self, text: str) -> str:
        mark = str(getattr(self.processor, "image_token", "<image>"))
        return text if mark in text else f"{mark}{text}"

    def _handed(self, tokens: Tensor) -> Any:
        return tokens

    def extended(self, name: str) -> int:
        """Returns 1 for what is written: 0 is what sees all of the prompt."""
        return 1 if name == "token_type_ids" else 0


class Gemma3(InText):
    """Gemma 3: patches pooled to a fixed square of tokens (arXiv 2503.19786, section 2.1)."""

    types = ("Gemma3ForConditionalGeneration",)

    def _handed(self, tokens: Tensor) -> Any:
        return tokens

    def _picture(self, x: Tensor, visual: Tensors) -> Tensor:
        if len(x) != 1:
            raise InputError("the processor cut the picture into crops (do_pan_and_scan): set it to False")
        return self._sized(x, self._vision)

    def _given(self, x: Tensor, visual: Tensors) -> dict[str, Any]:
        return {"pixel_values": x}

    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns the square of pooled tokens."""
        return square(tokens.shape[1], prompt.x.shape[-2:], "patches pooled to mm_tokens_per_image")


class LlavaNext(InText):
    """LLaVA-NeXT: the whole picture, small, and then in tiles of any resolution."""

    types = ("LlavaNextForConditionalGeneration",)
    _seen = ("image_sizes",)

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Returns all of the picture."""
        return 0.0, 0.0, 1.0, 1.0

    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns the tiles' cells, put together."""
        from transformers.models.llava_next import modeling_llava_next

        vision = self._vision
        side, size = vision.image_size // vision.patch_size, prompt.visual["image_sizes"][0]
        tiles_of: Any = modeling_llava_next.get_anyres_image_grid_shape
        shape = tiles_of(size, self.model.config.image_grid_pinpoints, vision.image_size)
        return any_resolution(shape, side, size.tolist(), tokens.shape[1], prompt.x.shape[-2:])


class Tiled(InText):
    """Idefics3 and SmolVLM: tiles and the small whole, each pooled by pixel shuffle (arXiv 2408.12637, section 3)."""

    types = ("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration")
    _seen = ("pixel_attention_mask",)

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Returns all of the picture."""
        return 0.0, 0.0, 1.0, 1.0

    def prompt(self, picture: Any, text: str) -> Prompt:
        """Returns picture and prompt, and how many rows and columns of tiles there are."""
        found = super().prompt(picture, text)
        owner, (width, height) = self.processor.image_processor, picture.size
        count, rows, columns = owner.get_number_of_image_patches(height, width, {})
        if count != found.x.shape[1]:
            rows, columns = (0, 0) if found.x.shape[1] == 1 else (-1, -1)
        return replace(found, visual={**found.visual, "tiles": torch.tensor([[rows, columns]])})

    def _given(self, x: Tensor, visual: Tensors) -> dict[str, Any]:
        mask = visual.get("pixel_attention_mask")
        return {"pixel_values": x, **({} if mask is None else {"pixel_attention_mask": mask})}

    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns the tiles' cells, put together."""
        rows, columns = prompt.visual["tiles"][0].tolist()
        size = prompt.x.shape[-2:]
        patch, factor = self._vision.patch_size, self.model.config.scale_factor
        each = (size[0] // patch // factor) * (size[1] // patch // factor)
        return tiles(rows, columns, each, tokens.shape[1], size)


class InternVL(InText):
    """InternVL: tiles and the small whole, each pooled by pixel shuffle (arXiv 2404.16821, section 3)."""

    types = ("InternVLForConditionalGeneration",)
    _seen = ()

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Returns all of the picture."""
        return 0.0, 0.0, 1.0, 1.0

    def prompt(self, picture: Any, text: str) -> Prompt:
        """Returns picture and prompt, and how many rows and columns of tiles there are."""
        from transformers.models.got_ocr2 import image_processing_pil_got_ocr2 as tiling

        found = super().prompt(picture, text)
        owner, views, (width, height) = self.processor.image_processor, found.x.shape[1], picture.size
        rows, columns = 0, 0
        if views > 1:
            canvas: Any = tiling.get_optimal_tiled_canvas
            tile = tuple(found.x.shape[-2:])
            columns, rows = canvas((height, width), tile, owner.min_patches, owner.max_patches)
        return replace(found, visual={"tiles": torch.tensor([[rows, columns]])})

    def _picture(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns the tiles of the one picture (1, tiles, C, H, W)."""
        return self._sized(x, self._vision)[None]

    def _given(self, x: Tensor, visual: Tensors) -> dict[str, Any]:
        return {"pixel_values": x.flatten(0, 1)}

    def _handed(self, tokens: Tensor) -> Any:
        return tokens

    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns the tiles' cells, put together."""
        rows, columns = prompt.visual["tiles"][0].tolist()
        size, ratio = prompt.x.shape[-2:], self.model.config.downsample_ratio
        patch = sides(self._vision.patch_size) or (1, 1)
        each = math.prod(round(n // p * ratio) for n, p in zip(size, patch, strict=True))
        return tiles(rows, columns, each, tokens.shape[1], size)


class QwenVL(InText):
    """Qwen2-VL and Qwen2.5-VL: pictures of their own size, four patches in one token (arXiv 2409.12191, 2.1)."""

    types: ClassVar[tuple[str, ...]] = ("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration")
    _seen = _beside = ("image_grid_thw",)

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Returns all of the picture."""
        return 0.0, 0.0, 1.0, 1.0

    def _formed(self, text: str) -> str:
        formed = super()._formed(text)
        mark = str(getattr(self.processor, "image_token", "<|image_pad|>"))
        if getattr(self.processor, "chat_template", None) or f"<|vision_start|>{mark}" in formed:
            return formed
        return formed.replace(f"{mark}\n", mark).replace(mark, f"<|vision_start|>{mark}<|vision_end|>", 1)

    def _picture(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns the picture (1, 3, H, W) of its patches, which come group by group."""
        time, height, width = (int(n) for n in visual["image_grid_thw"][0])
        if time != 1 or len(visual["image_grid_thw"]) != 1:
            raise InputError("clips are not explained: give one picture")
        merge, patch = self._vision.spatial_merge_size, self._vision.patch_size
        groups = x.reshape(
            height // merge, width // merge, merge, merge, -1, self._vision.temporal_patch_size, patch, patch
        )
        if not all(groups[..., t, :, :].equal(groups[..., 0, :, :]) for t in range(groups.shape[5])):
            raise InputError("clips are not explained: give one picture")
        picture = groups[..., 0, :, :].permute(4, 0, 2, 5, 1, 3, 6)  # C, rows, in group, in patch, columns, ...
        return picture.reshape(1, -1, height * patch, width * patch)

    def _given(self, x: Tensor, visual: Tensors) -> dict[str, Any]:
        merge, patch = self._vision.spatial_merge_size, self._vision.patch_size
        height, width = x.shape[2] // patch, x.shape[3] // patch
        split = x.reshape(len(x), x.shape[1], height // merge, merge, patch, width // merge, merge, patch)
        groups = split.permute(0, 2, 5, 3, 6, 1, 4, 7)  # N, groups down, across, in group down, across, C, in patch
        repeated = groups[..., None, :, :].expand(*groups.shape[:-2], self._vision.temporal_patch_size, patch, patch)
        return {"pixel_values": repeated.reshape(len(x) * height * width, -1), **visual}

    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns the groups of patches."""
        vision = self._vision
        thw = prompt.visual["image_grid_thw"][0].tolist()
        return merged(thw, vision.spatial_merge_size, vision.patch_size, tokens.shape[1])


class Qwen3VL(QwenVL):
    """Qwen3-VL: the same, and tokens of earlier layers that the language model's first layers get beside (DeepStack).

    All of them are one token of the map, their channels one behind the other (arXiv 2511.21631, section 2.1): a map of
    the last ones alone would leave out what the network learns of the picture from the others.
    """

    types: ClassVar[tuple[str, ...]] = ("Qwen3VLForConditionalGeneration",)

    def encode(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns the picture's tokens, and behind them those of earlier layers, channels beside channels."""
        found = self.model.get_image_features(**self._given(x, visual), return_dict=True)
        every = (found.pooler_output, *found.deepstack_features)
        if len({len(one) for one in found.pooler_output}) > 1:
            raise InputError("the pictures have different numbers of image tokens: explain them one at a time")
        return torch.cat([torch.stack(list(one)) for one in every], 2)

    def _seen_by(self, tokens: Tensor) -> Any:
        from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

        own, *earlier = tokens.split(self._vision.out_hidden_size, 2)
        output: Any = BaseModelOutputWithDeepstackFeatures
        return output(pooler_output=list(own), deepstack_features=[list(one) for one in earlier])
