"""BLIP and BLIP-2: text parts that look at a picture's patches, directly or through a few tokens that ask for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.models.texts.families import Family, Prompt, Rows, Tensors, processed
from cfcam.models.texts.grids import ImageGrid, patches
from cfcam.shown import counted


class BlipCaptions(Family):
    """BLIP's captions: a text part that looks at the picture's tokens (arXiv 2201.12086, section 3.1)."""

    types = ("BlipForConditionalGeneration",)

    @property
    def writer(self) -> Any:
        """The text part's."""
        return self.model.config.text_config

    def prompt(self, picture: Any, text: str) -> Prompt:
        """Returns the picture, and the prompt behind the token with which texts start."""
        return Prompt((self.writer.bos_token_id, *self._ids(text)), self.pixels(picture))

    def encode(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns the last hidden state of the part that looks."""
        found: Tensor = self.model.vision_model(pixel_values=x).last_hidden_state
        return found

    def decode(self, tokens: Tensor, rows: Rows) -> Tensor:
        """Returns the text part's logits."""
        found: Tensor = self.model.text_decoder(
            input_ids=rows.ids,
            attention_mask=rows.mask,
            encoder_hidden_states=tokens,
            encoder_attention_mask=torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device),
            logits_to_keep=rows.keep,
            use_cache=False,
        ).logits
        return found

    def generation(self, prompt: Prompt) -> dict[str, Tensor]:
        """Returns the picture and the prompt, with the end of a sentence that ``generate`` takes away again."""
        ids = torch.tensor([[*prompt.ids, self.writer.sep_token_id]])
        return {"pixel_values": prompt.x, "input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns the patches of the part that looks, behind its class token."""
        return patches(self._vision, prompt.x.shape[-2:], tokens.shape[1], least=1)


class BlipAnswers(BlipCaptions):
    """BLIP's answers: a question is read with the picture, and the text part looks at what was read."""

    types = ("BlipForQuestionAnswering",)

    def prompt(self, picture: Any, text: str) -> Prompt:
        """Returns the picture and the question."""
        if not text.strip():
            raise InputError("BlipForQuestionAnswering answers questions: give one as the prompt")
        question = tuple(self.tokenizer(text)["input_ids"])
        most = self.context
        if most is not None and len(question) > most:
            raise InputError(
                f"the prompt is {counted(len(question), 'token')} long, and the network takes {most}: shorten it"
            )
        return Prompt((self.model.decoder_start_token_id,), self.pixels(picture), question=question)

    def decode(self, tokens: Tensor, rows: Rows) -> Tensor:
        """Returns the text part's logits."""
        if rows.question is None:
            raise InputError("BlipForQuestionAnswering needs a question")
        ids, mask = rows.question
        read = self.model.text_encoder(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=tokens,
            encoder_attention_mask=torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device),
        )[0]
        found: Tensor = self.model.text_decoder(
            input_ids=rows.ids,
            attention_mask=rows.mask,
            encoder_hidden_states=read,
            encoder_attention_mask=mask,
            use_cache=False,
        ).logits
        return found

    def generation(self, prompt: Prompt) -> dict[str, Tensor]:
        """Returns the picture and the question."""
        ids = torch.tensor([prompt.question])
        return {"pixel_values": prompt.x, "input_ids": ids, "attention_mask": torch.ones_like(ids)}


class Blip2(Family):
    """BLIP-2: a few queries ask the picture's patches, and the language model reads them (arXiv 2301.12597, section 3).

    The queries are no places of the picture. Mapped is what they look at: all evidence passes through the patches.
    """

    types = ("Blip2ForConditionalGeneration",)

    @property
    def writer(self) -> Any:
        """The language model's."""
        return self.model.config.text_config

    @property
    def _decodes(self) -> bool:
        """Whether the language model has an encoder for what was asked, as T5."""
        return not self.model.config.use_decoder_only_language_model

    def prompt(self, picture: Any, text: str) -> Prompt:
        """Returns the picture and the prompt behind its queries; a language model with an encoder reads it apart."""
        given = processed(self.processor, images=picture, text=text)
        ids = tuple(given["input_ids"][0].tolist())
        found, due = ids.count(self.model.config.image_token_id), self.model.config.num_query_tokens
        if found != due:  # the network itself would read the text without the picture, and say nothing
            raise InputError(
                f"the processor kept {found} places for a picture, and the network has {due} queries: give the"
                " processor that belongs to the network (its num_query_tokens, and the network's image_token_index)"
            )
        x = self._sized(given["pixel_values"], self._vision)
        if not self._decodes:
            return Prompt(ids, x)
        start = self.writer.decoder_start_token_id
        return Prompt((self.writer.pad_token_id if start is None else start,), x, question=ids)

    def encode(self, x: Tensor, visual: Tensors) -> Tensor:
        """Returns the last hidden state of the part that looks, which the queries ask."""
        found: Tensor = self.model.vision_model(pixel_values=x).last_hidden_state
        return found

    def decode(self, tokens: Tensor, rows: Rows) -> Tensor:
        """Returns the language model's logits."""
        from transformers.models.blip_2.modeling_blip_2 import BaseModelOutputWithVisionQformerOutputs

        model = self.model
        asked = model.qformer(
            query_embeds=model.query_tokens.expand(len(tokens), -1, -1),
            encoder_hidden_states=tokens,
            encoder_attention_mask=torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device),
        )[0]
        read = model.language_projection(asked.to(model.language_projection.weight.dtype))
        given: dict[str, Any] = {"input_ids": rows.ids, "attention_mask": rows.mask}
        if rows.question is not None:
            given = {
                "input_ids": rows.question[0],
                "attention_mask": rows.question[1],
                "decoder_input_ids": rows.ids,
                "decoder_attention_mask": rows.mask,
            }
        found: Tensor = model(
            pixel_values=None,
            mm_encoder_outputs={"image": BaseModelOutputWithVisionQformerOutputs(pooler_output=read)},
            use_cache=False,
            **given,
        ).logits
        return found

    def generation(self, prompt: Prompt) -> dict[str, Tensor]:
        """Returns the picture, and the prompt behind its queries."""
        ids = torch.tensor([prompt.question or prompt.ids])
        return {"pixel_values": prompt.x, "input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def grid(self, prompt: Prompt, tokens: Tensor) -> ImageGrid:
        """Returns the patches of the part that looks, behind its class token."""
        return patches(self._vision, prompt.x.shape[-2:], tokens.shape[1], least=1)
