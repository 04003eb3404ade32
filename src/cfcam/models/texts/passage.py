"""A network that writes, seen as a network of one batch of pictures: one pass scores every token of their texts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cfcam.capture import Adapter
from cfcam.capture.state.guarantee import preserved
from cfcam.capture.state.keeping import Keeper
from cfcam.capture.targets.tokens import Text, TextOutput, padded
from cfcam.errors import MethodError
from cfcam.models.texts.families import Family, Prompt, Rows
from cfcam.models.texts.grids import ImageGrid

LAYER = "image_tokens"
"""The layer that is mapped unless another is named: the image tokens as that part gets them that writes."""


@dataclass(frozen=True)
class Written:
    """A text of one picture.

    Attributes:
        text: its tokens and words.
        log_probabilities: of each token, as ``generate`` found it; None: the text was given.
        cut: why the network was stopped before its text ended; "" if it was not.
    """

    text: Text
    log_probabilities: tuple[float, ...] | None = None
    cut: str = ""


@dataclass(frozen=True)
class Everywhere:
    """One picture's logits at every place of its sequence; see `cfcam.methods.tokens.token_activation.Everywhere`."""

    logits: Tensor
    image: Tensor
    ids: list[int]
    places: list[int]
    start: int


class Passage(Adapter):
    """Pictures, what was asked, and texts, in one network that cfcam explains: ``cfcam.explain(passage, passage.x)``.

    Texts are given to the network whole, and each token is scored given the image and all before it (teacher forcing),
    so that one pass serves all tokens. Pictures go through the part that looks once, however many texts there are.

    Args:
        family: how the network is called.
        prompts: of each picture, (N,).
        texts: for each text those of all pictures: (R, N); the first is the one whose tokens are explained.
        grid: where image tokens lie; None: the layer that is mapped is named by whoever explains.

    Attributes:
        x: (N, C, H, W) the pictures as the network is given them, or their tiles (N, tiles, C, H, W).
        prompts: see above.
        written: the first text of each picture.
        grid: see above.
        spec: what named the network, for messages; "" where none did.
    """

    spec: str = ""

    def __init__(
        self, family: Family, prompts: Sequence[Prompt], texts: Sequence[Sequence[Written]], grid: ImageGrid | None
    ) -> None:
        super().__init__(family.model, lambda x, images: None)
        self.image_tokens = nn.Identity()
        self.batched = True
        self.family, self.prompts, self.grid = family, tuple(prompts), grid
        self.written, self.x = tuple(texts[0]), torch.cat([prompt.x for prompt in prompts])
        self.whole = self.x.ndim < 5
        self._texts = tuple(tuple(one.text for one in each) for each in texts)
        if grid is not None:
            name = LAYER if family.inside is None else f"model.{family.inside}"
            self.layer, self.grids = name, {name: (grid.tokens, grid.placement)}

    @property
    def known_as(self) -> str:
        """What its user calls it: the network that writes."""
        return type(self.model).__name__

    @property
    def layers_by(self) -> str:
        """What tells of all layers, in messages: ``cfcam layers`` knows networks that classify alone."""
        if not self.spec:
            return f"{LAYER}, and with model. before each those of model.model.named_modules()"
        load = "from cfcam.models.text_loading import load_text_model as load"
        listed = f"{load}; print(*dict(load({json.dumps(self.spec, ensure_ascii=False)}).model.named_modules()))"
        return f"{LAYER}, and with model. before each: python -c {shlex.quote(listed)}"

    def forward(self, x: Tensor, images: Tensor | None = None) -> TextOutput:
        """Returns what the network says of the texts, for pictures (M, ...) made from those of the batch."""
        if images is None:
            images = torch.arange(len(x), device=x.device)
        tokens = None
        if self.family.inside is None:
            tokens = self.image_tokens(self.family.encode(x, self._visual(images, 1)))
            images = images.expand(len(tokens))  # of one picture, tokens may be given that are many versions of its own
        rows = self._rows(images)
        logits = self._logits(x, tokens, rows)
        read = [self._of(logits, number, images, rows) for number in range(len(self._texts))]
        return TextOutput(read, self._texts)

    def everywhere(self, x: Tensor) -> list[Everywhere]:
        """Returns each picture's logits at all places of its sequence, for the first text.

        Args:
            x: (N, ...) as `forward` gets it.

        Raises:
            MethodError: the network looks at the picture apart from the text.
        """
        images = torch.arange(len(x), device=x.device)
        rows, found = replace(self._rows(images), keep=0), []
        with preserved(self.model, x.device), torch.no_grad(), Keeper(self.model).kept(x.device, len(x)):
            tokens = None if self.family.inside else self.family.encode(x, self._visual(images, 1))
            logits = self._logits(x, tokens, rows)
        special = set(getattr(self.family.tokenizer, "all_special_ids", ()))
        for n, prompt in enumerate(self.prompts):
            places = self.family.image_places(rows.ids[n], logits.shape[1])
            if places is None:
                raise MethodError(
                    f"{type(self.model).__name__} looks at the picture apart from the text, and has no logits at image"
                    " tokens: TAM is for networks such as LLaVA, GIT, PaliGemma; take hires-cam"
                )
            before, text, shift = prompt.ids, self._texts[0][n].ids, logits.shape[1] - rows.ids.shape[1]
            kept = [p for p in range(len(before)) if before[p] not in special and p + shift not in places.tolist()]
            at = [*kept, *range(len(before) - 1, len(before) - 1 + len(text))]  # a written token: where it is predicted
            ids = [*[before[p] for p in kept], *text]
            found.append(Everywhere(logits[n], places, ids, [p + shift for p in at], len(kept)))
        return found

    def _logits(self, x: Tensor, tokens: Tensor | None, rows: Rows) -> Tensor:
        """Returns the logits of all rows, those of the last places, for pictures or image tokens (M, P, C) of them."""
        if tokens is None:
            return self.family.whole(x, rows)
        return self.family.decode(tokens.repeat(len(self._texts), 1, 1), rows)

    def _visual(self, images: Tensor, repeats: int) -> dict[str, Tensor]:
        found = {}
        for name in self.prompts[0].visual:
            whole = torch.cat([prompt.visual[name] for prompt in self.prompts]).to(images.device)
            found[name] = whole[images].repeat(repeats, *[1] * (whole.ndim - 1))
        return found

    def _rows(self, images: Tensor) -> Rows:
        """Returns all texts of the images, one text of all of them after another."""
        device, family = images.device, self.family
        rows = [[*p.ids, *text.ids] for each in self._texts for p, text in zip(self.prompts, each, strict=True)]
        length = max(map(len, rows))
        ids, which = padded(rows, length), self._which(images)
        mask = (ids >= 0).long()
        along = {}
        for name in self.prompts[0].along:
            fill = family.extended(name)
            known = [prompt.along[name][0].tolist() for prompt in self.prompts] * len(self._texts)
            along[name] = padded(known, length, fill).to(device)[which]
        question = None
        if self.prompts[0].question:
            longest = max(len(prompt.question) for prompt in self.prompts)
            asked = padded([prompt.question for prompt in self.prompts] * len(self._texts), longest).to(device)[which]
            question = asked.clamp(min=0), (asked >= 0).long()
        # Behind the end of a text stands its last token once more: of no effect on what is before it, and no picture's.
        last = ids.gather(1, mask.sum(1, keepdim=True) - 1)
        ids = torch.where(ids < 0, last, ids).to(device)[which]
        least = min(len(prompt.ids) for prompt in self.prompts)
        return Rows(
            ids, mask.to(device)[which], along, self._visual(images, len(self._texts)), question, length - least + 1
        )

    def _which(self, images: Tensor) -> Tensor:
        return torch.cat([images + number * len(self.prompts) for number in range(len(self._texts))])

    def _of(self, logits: Tensor, number: int, images: Tensor, rows: Rows) -> Tensor:
        """Returns the logits (M, T, vocabulary) that predict the tokens of one text."""
        starts = torch.tensor([len(prompt.ids) for prompt in self.prompts], device=images.device)[images]
        own = logits[number * len(images) : (number + 1) * len(images)]
        most = max(len(text.ids) for text in self._texts[number])
        # The token at place p is predicted at p - 1; logits are those of the last places.
        at = starts[:, None] - 1 + torch.arange(most, device=images.device) - (rows.ids.shape[1] - logits.shape[1])
        at = at.clamp(max=logits.shape[1] - 1)
        return own.gather(1, at[..., None].expand(-1, -1, own.shape[2]))
