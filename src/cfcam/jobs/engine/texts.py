"""Captions and answers: which part of a picture each word of a text comes from, from one pass for all of its words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cfcam.capture import Capture
from cfcam.capture.targets.scores import ScoreTarget
from cfcam.capture.targets.tokens import Answer, EachToken, EachWord, Text, Token, TokenScore, occurrences
from cfcam.errors import InputError, OutputError, TargetError, shown, whole_number
from cfcam.explainer import Explainer
from cfcam.explanation import Explanation
from cfcam.maps import Status
from cfcam.methods.base import Methods
from cfcam.models.texts.passage import Passage
from cfcam.models.texts.text_model import MOST_TOKENS, TextModel, as_picture

Asked = str | Token | Answer | EachWord | EachToken
DEFAULT_METHODS = ("hires-cam",)
"""Each cell by what it added: a word looks at few of the image tokens, and weights that are means over all of them, as
Grad-CAM's, are mostly those of cells that it does not look at."""
SIDES = re.compile(r"(?:^|\s+)vs\.?(?:\s+|$)")
"""What stands between two answers, one of which is asked for against the other."""
_EXACT, _ROUGH = 1e-3, 0.2
"""How far the log-probability of a token may lie from what ``generate`` found, in float32 and in half precision."""


@dataclass(frozen=True, eq=False)
class TextExplanation:
    """Maps of the words of N pictures' texts, by several methods.

    Attributes:
        explanation: raw maps (N, K, h, w), scores and provenance; column k is the k-th word (or token, or target).
        prompt: what was asked, or how the texts begin.
        texts: (N,) the texts, with their tokens and words.
        generated: whether the network wrote them; else they were given.
        names: (N, K) what each map explains; "" where a picture's text has no k-th word.
        log_probabilities: (N, K) of what each map explains; NaN of one answer against another, see `margins`, and where
            a picture's text has no k-th word.
        grid: where the cells of the maps come from; "" for a layer that was named.
        seen: (N,) which part of each picture the network got, and maps lie on: top, left, bottom, right, in [0, 1].
        sizes: (N,) height and width of each picture.
        notices: what to know beside the maps, as words of the prompt that the network was not given.
    """

    explanation: Explanation
    prompt: str
    texts: tuple[Text, ...]
    generated: bool
    names: tuple[tuple[str, ...], ...]
    log_probabilities: Tensor
    grid: str
    seen: tuple[tuple[float, float, float, float], ...]
    sizes: tuple[tuple[int, int], ...]
    notices: tuple[str, ...] = ()

    @property
    def maps(self) -> dict[str, Tensor]:
        """Method -> raw maps (N, K, h, w)."""
        return self.explanation.maps

    @property
    def scores(self) -> Tensor:
        """(N, K) the explained scores; NaN where a picture's text has no k-th word."""
        return self.explanation.scores

    @property
    def status(self) -> dict[str, np.ndarray[Any, Any]]:
        """Method -> (N, K) array of `cfcam.maps.Status`; "nothing to explain" where a text has no k-th word."""
        return self.explanation.status

    @property
    def margins(self) -> Tensor:
        """(N, K) of one answer against another the difference of their log-probabilities; NaN of all else."""
        found = torch.full_like(self.log_probabilities, torch.nan)
        for k, margin in enumerate(self.explanation.margins):
            if margin:
                found[:, k] = self.scores[:, k].to(found)
        return found

    def heatmaps(self, method: str, size: Sequence[int] | None = None) -> Tensor:
        """Returns maps for the eye, (N, K, *size), each in [0, 1]; see `cfcam.Explanation.heatmaps`."""
        return self.explanation.heatmaps(method, size)

    def to_dict(self, image: int = 0) -> dict[str, Any]:
        """Returns what is known of one picture as plain values, for JSON: text, tokens, and each map's peak and status.

        Peaks are pixels of the picture, from 0, at most a pixel of the network's input beside the true place.

        Args:
            image: its number.
        """
        found, image = self.explanation, self._number(image)
        text = self.texts[image]
        heats = {method: self.heatmaps(method)[image] for method in self.maps}
        entries = []
        for k, name in enumerate(self.names[image]):
            if not name:
                continue
            maps = {}
            for method, status in found.status.items():
                ok = status[image, k] == Status.OK
                peak = self._peak(heats[method][k], image) if ok else {}
                maps[method] = {"status": str(status[image, k]), **peak}
            entries.append(
                {
                    "text": name,
                    "score": float(found.scores[image, k]),
                    "log_probability": _plain(self.log_probabilities[image, k]),
                    "margin": _plain(self.margins[image, k]),
                    "maps": maps,
                }
            )
        rows, columns = next(iter(self.maps.values())).shape[-2:]
        return {
            "prompt": self.prompt,
            "text": text.whole,
            "generated": self.generated,
            "tokens": [{"id": id_, "text": token} for id_, token in zip(text.ids, text.tokens, strict=True)],
            "explained": entries,
            "layer": found.layer,
            "grid": {"rows": rows, "columns": columns, "from": self.grid},
            "seen": dict(zip(("top", "left", "bottom", "right"), self.seen[image], strict=True)),
            "height": self.sizes[image][0],
            "width": self.sizes[image][1],
            "input": {"height": found.input_size[0], "width": found.input_size[1]},
            "notices": list(self.notices),
            "provenance": found.provenance,
        }

    def strip(self, picture: Any, method: str | None = None, image: int = 0, **drawing: Any) -> NDArray[np.uint8]:
        """Returns a drawing of one picture's text: each word over its map, uint8 (H, W, 3).

        Of a picture that the processor crops, the part that the network got is shown.

        Args:
            picture: what was explained: bytes (H, W, 3) or (H, W), PIL, or a `cfcam.imaging.Image`.
            method: None: the first.
            image: number of the picture.
            **drawing: see `cfcam.imaging.drawing.strip.word_strip`.
        """
        from cfcam.imaging.drawing.strip import MappedWord, word_strip

        image, whole = self._number(image), np.asarray(as_picture(picture))
        top, left, bottom, right = _part(self.seen[image], *whole.shape[:2])
        pixels = whole[top:bottom, left:right]
        method = self.explanation.methods[0] if method is None else method
        heat = self.heatmaps(method, pixels.shape[:2])[image]
        status, proba = self.explanation.status[method][image], self.log_probabilities[image].exp().tolist()
        margins = [self.explanation.margin(image, k) for k in range(len(proba))]
        words = [
            MappedWord(name, heat[k], str(status[k]), None if margins[k] is not None else proba[k], margins[k])
            for k, name in enumerate(self.names[image])
            if name
        ]
        drawing.setdefault("title", f"{self.prompt}  {self.texts[image].whole}".strip())
        drawing.setdefault("footer", f"{method}, {self.explanation.layer}; research use only")
        return word_strip(pixels, words, **drawing)

    def _number(self, image: Any) -> int:
        """Returns the number of one of the pictures."""
        number = whole_number(image, "image")
        if not 0 <= number < len(self.texts):
            raise InputError(f"image {number}: there are {len(self.texts)}, counted from 0")
        return number

    def _peak(self, heat: Tensor, image: int) -> dict[str, int]:
        """Where a heat map (h, w) is highest, in pixels of the picture: the middle of the input's highest pixel."""
        top, left, bottom, right = _part(self.seen[image], *self.sizes[image])
        row, column = divmod(int(heat.argmax()), heat.shape[1])
        return {
            "peak_row": top + int((row + 0.5) * (bottom - top) / heat.shape[0]),
            "peak_column": left + int((column + 0.5) * (right - left) / heat.shape[1]),
        }

    def __repr__(self) -> str:
        texts = ", ".join(repr(text.whole) for text in self.texts)
        return f"TextExplanation({texts}, methods={self.explanation.methods}, layer={self.explanation.layer!r})"


def explain_text(
    model: TextModel,
    pictures: Any,
    prompt: str = "",
    text: str | None = None,
    methods: Methods = DEFAULT_METHODS,
    *,
    targets: Asked | Iterable[Asked] = "words",
    score: TokenScore = "log-odds",
    layer: str | nn.Module | None = None,
    most_tokens: int = MOST_TOKENS,
) -> TextExplanation:
    """Explains what a network writes about pictures: a map for each word, from one pass over the whole text.

    Each word's score is that of its tokens given the picture, the prompt and all words before it. The layer is the
    image tokens as the part that writes gets them, unless another is named.

    Args:
        model: a network and its processor.
        pictures: one picture, or several that become inputs of one size; see `TextModel.passage`.
        prompt: a question, or how the text begins.
        text: what is explained; None: what the network generates, or of an `Answer` alone its first text.
        methods: see `cfcam.Explainer`.
        targets: "words" (all), "tokens" (all, special ones too), a word as "nodule", "yes vs no", `Token`, `Answer`, or
            a list of these.
        score: of targets that are given as strings, see `Token`.
        layer: see `cfcam.Explainer`.
        most_tokens: that are generated; a text that has not ended by then is cut, and a notice says so.

    Raises:
        CfcamError: one of its subclasses: a word that the text does not hold or the tokenizer does not know, a prompt
            longer than the context, a picture that cannot be prepared, a grid that cannot be told, a method that does
            not apply.
    """
    if not isinstance(model, TextModel):
        raise InputError(
            f"the model is a {type(model).__name__}: give cfcam.models.TextModel(model, processor), so that pictures"
            " and prompts can be prepared"
        )
    wanted = _wanted(targets, score)
    answers = [one for one in wanted if isinstance(one, Answer)]
    if answers and len(answers) == len(wanted) and text is None:
        text = answers[0].a
    others = dict.fromkeys(side.strip() for one in answers for side in (one.a, one.b))
    shown = pictures if isinstance(pictures, (list, tuple)) else [pictures]
    passage = model.passage(
        pictures, prompt, text, others=[o for o in others if o != (text or "").strip()], most_tokens=most_tokens
    )
    _check_known(model, passage, wanted)
    explainer = Explainer(model=passage, methods=methods, layer=layer)
    capture = explainer.capture(passage.x, wanted)
    _check_generated(capture, passage)
    found = _explained(explainer, capture, passage)
    names, proba = _described(capture, wanted)
    missing = torch.tensor([[not name for name in row] for row in names])
    proba = proba.masked_fill(missing, torch.nan)
    found = replace(found, scores=found.scores.masked_fill(missing.to(found.scores.device), torch.nan))
    own = passage.grid is not None and found.layer == passage.layer
    return TextExplanation(
        found,
        prompt,
        tuple(one.text for one in passage.written),
        passage.written[0].log_probabilities is not None,
        names,
        proba,
        passage.grid.words if own and passage.grid is not None else "",
        tuple(map(model.seen, shown)),
        tuple(as_picture(one).size[::-1] for one in shown),
        tuple(_notices(model, prompt, passage, wanted)),
    )


def read_asked(words: str, score: TokenScore = "log-odds") -> Token | Answer | EachWord | EachToken:
    """Returns what is explained, as people write it: "words", "tokens", a word, or "yes vs no".

    Args:
        words: see above.
        score: see `Token`.

    Raises:
        TargetError: it is empty, or one answer against itself or against nothing.
    """
    if words in ("words", "tokens"):
        return EachWord(score) if words == "words" else EachToken(score)
    sides = SIDES.split(words.strip(), maxsplit=1)
    return Token(words.strip(), score) if len(sides) == 1 else Answer(*sides)


def _wanted(targets: Any, score: TokenScore) -> list[Any]:
    one = isinstance(targets, (str, ScoreTarget)) or not isinstance(targets, Iterable)
    found = [read_asked(each, score) if isinstance(each, str) else each for each in ([targets] if one else targets)]
    if wrong := [each for each in found if not isinstance(each, (Token, Answer, EachWord, EachToken))]:
        raise TargetError(
            f"target {shown(wrong[0])} of a text: give 'words', 'tokens', a word, 'yes vs no', Token(...) or"
            " Answer(...)"
        )
    if not found:
        raise TargetError("targets is empty: give 'words', 'tokens', Token(...) or Answer(...)")
    return found


def _check_known(model: TextModel, passage: Passage, wanted: Sequence[Any]) -> None:
    """Raises `TargetError` for a word that is in no text because the tokenizer does not know it."""
    texts = [one.text.whole.casefold() for one in passage.written]
    for word in (one.which for one in wanted if isinstance(one, Token) and isinstance(one.which, str)):
        if not all(word.casefold() in text for text in texts) and (unknown := model.unknown(word)):
            raise TargetError(f"target {word!r}: {unknown}: give words that it knows, as it spells them")


def _notices(model: TextModel, prompt: str, passage: Passage, wanted: Sequence[Any]) -> Iterator[str]:
    """Yields what a user should know: words that the network does not get, texts that were cut, words that recur."""
    if unknown := model.unknown(prompt):
        yield f"prompt: {unknown}"
    several = len(passage.written) > 1
    for n, written in enumerate(passage.written):
        where = f"image {n}: " * several
        if written.cut:
            yield where + written.cut
        for word in dict.fromkeys(one.which for one in wanted if isinstance(one, Token)):
            times = occurrences(written.text, word) if isinstance(word, str) else 1
            if times > 1:
                first = "and the first is explained: 'words' explains each"
                yield f"{where}{word!r} stands {times} times in the text, {first}"


def _part(seen: Sequence[float], height: int, width: int) -> tuple[int, int, int, int]:
    """Returns `seen` in pixels of a picture: top, left, bottom, right."""
    top, left, bottom, right = seen
    return round(top * height), round(left * width), round(bottom * height), round(right * width)


def _plain(number: Tensor) -> float | None:
    return None if bool(number.isnan()) else float(number)


def _check_generated(capture: Capture, passage: Passage) -> None:
    """Raises `OutputError` if the pass over the whole text does not score its tokens as ``generate`` did."""
    images = torch.arange(len(passage.written), device=capture.input.device)
    with torch.no_grad():
        scores = capture.output.scores(0, images, "log-probability").detach().float().cpu()
    rough = next(p.dtype for p in passage.model.parameters() if p.is_floating_point()) != torch.float32
    for n, written in enumerate(passage.written):
        for t, known in enumerate(written.log_probabilities or ()):
            if abs(float(scores[n, t]) - known) > (_ROUGH if rough else _EXACT) * (1 + abs(known)):
                raise OutputError(
                    f"{type(passage.model).__name__} gives token {t} ({written.text.tokens[t]!r}) the log-probability"
                    f" {float(scores[n, t]):.4f} in one pass over the text, and gave it {known:.4f} when it wrote it:"
                    " this kind of network cannot be explained in one pass; please report it"
                )


def _explained(explainer: Explainer, capture: Capture, passage: Passage) -> Explanation:
    found = explainer.explained(capture)
    if passage.grid is not None and found.layer == passage.layer:
        return replace(found, input_size=passage.grid.size)
    return found if passage.whole else replace(found, input_size=tuple(passage.x.shape[-2:]))


def _described(capture: Capture, wanted: Sequence[Any]) -> tuple[tuple[tuple[str, ...], ...], Tensor]:
    """Returns what each map explains, (N, K), and its log-probability; NaN of a margin."""
    images = torch.arange(len(capture.input), device=capture.input.device)
    names, columns = [], []
    with torch.no_grad():
        for k in range(capture.scores.shape[1]):
            score: Any = capture.targets.functions[k]
            names.append(getattr(score, "names", ()) or (score.name,) * len(images))
            proba = score.log_probability(capture.output, images).float().cpu()
            columns.append(torch.full_like(proba, torch.nan) if score.is_margin else proba)
    return tuple(zip(*names, strict=True)), torch.stack(columns, 1)
