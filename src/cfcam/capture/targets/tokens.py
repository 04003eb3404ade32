"""Text that a network writes or answers: the score of a token, of a word, of one answer against another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from cfcam.capture.half_precision import at_least_float32
from cfcam.capture.targets.scores import FirstPass, ImageScore, ScoreTarget
from cfcam.errors import TargetError, shown

TokenScore = Literal["log-odds", "logit", "log-probability"]
_SCORES = ("log-odds", "logit", "log-probability")


@dataclass(frozen=True)
class Word:
    """A word of a text, or a sign between words.

    Attributes:
        text: it, without the blanks around it.
        first: number of its first token.
        end: number of the token behind its last.
    """

    text: str
    first: int
    end: int


@dataclass(frozen=True)
class Text:
    """A text as its network writes it, token by token.

    Attributes:
        ids: of its tokens.
        tokens: what each adds to the text.
        words: of one token or several each.
        whole: all of it, without special tokens.
        given: as it was given, which its tokenizer may write otherwise; None: it was generated.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    words: tuple[Word, ...]
    whole: str
    given: str | None = None


class TextOutput:
    """What a network says of texts that it was given token by token; a pass scores all of their tokens at once.

    It is no container of tensors on purpose: nothing in it are class scores.

    Args:
        logits: for each text (M, T, vocabulary), what predicts its tokens.
        texts: the texts, for each of them one an image of the batch: N.
    """

    __slots__ = ("_found", "logits", "texts")
    no_class_scores: ClassVar[str] = (
        "writes a text, and gives no class scores: say what of it is explained, as targets=[cfcam.Token(0)],"
        " cfcam.EachWord() or cfcam.Answer('yes', 'no')"
    )

    def __init__(self, logits: Sequence[Tensor], texts: Sequence[Sequence[Text]]) -> None:
        self.logits, self.texts = tuple(logits), tuple(map(tuple, texts))
        self._found: dict[tuple[int, str], Tensor] = {}

    def scores(self, which: int, images: Tensor, kind: TokenScore) -> Tensor:
        """Returns the score of each token (M, T) of one text; 0 behind the text's end.

        Args:
            which: of the texts.
            images: (M,) int64, the image of the batch that each row was made from.
            kind: "log-odds": of the token against all others, ``y_t - log sum_{v != t} exp(y_v)``; "logit": ``y_t``;
                "log-probability": ``y_t - log sum_v exp(y_v)``.
        """
        if (which, kind) not in self._found:
            logits = self.logits[which]
            ids = padded([text.ids for text in self.texts[which]], logits.shape[1]).to(logits.device)[images]
            numbers, place = at_least_float32(logits), ids.clamp(min=0)[..., None]
            if kind == "log-probability":
                numbers = numbers.log_softmax(2)
            own = numbers.gather(2, place).squeeze(2)
            if kind == "log-odds":
                own = own - numbers.scatter(2, place, -torch.inf).logsumexp(2)
            self._found[which, kind] = own.masked_fill(ids < 0, 0)
        return self._found[which, kind]


def padded(rows: Sequence[Sequence[int]], length: int, fill: int = -1) -> Tensor:
    """Returns rows of ids as one tensor (N, length) int64, filled up behind their ends."""
    return torch.tensor([[*row, *[fill] * (length - len(row))] for row in rows], dtype=torch.int64)


@dataclass(frozen=True)
class Token(ScoreTarget):
    """A token or a word of the text that a network writes, given the image and all that stands before it.

    Args:
        which: the number of a token, from 0 (the first that the network writes); or a word, as it stands in the text,
            without regard to case: of several tokens their scores are added up. Of one that recurs the first.
        score: "log-odds" of a token against all others (which a certain network still has a gradient of), its "logit",
            or its "log-probability", whose sum over the tokens of a word is that of the word.

    Source: Selvaraju et al. 2017, "Grad-CAM", arXiv 1610.02391, section 7, for captions and answers; there it is the
    log-probability and the logit.
    """

    needs_logits: ClassVar[bool] = False
    which: int | str
    score: TokenScore = "log-odds"

    def __post_init__(self) -> None:
        _check_score(self.score)
        if isinstance(self.which, bool) or not isinstance(self.which, (int, str)) or self.which == "":
            raise TargetError(f"Token({shown(self.which)}): give a token's number, from 0, or a word of the text")

    def resolve(self, first: FirstPass) -> list[ImageScore]:
        """Returns one score; raises `TargetError` if the word or the token is not in an image's text."""
        texts = _output(first, self).texts[0]
        spans = tuple(self._span(text, image, len(texts)) for image, text in enumerate(texts))
        if isinstance(self.which, str):
            return [Passages(spans, self.which, self.score)]
        names = tuple(text.tokens[self.which].strip() or f"token {self.which}" for text in texts)
        return [Passages(spans, names[0] if len(set(names)) == 1 else f"token {self.which}", self.score, names)]

    def _span(self, text: Text, image: int, images: int) -> tuple[int, int]:
        where = f"image {image}: " if images > 1 else ""
        if isinstance(self.which, int):
            if not 0 <= self.which < len(text.ids):
                raise TargetError(
                    f"{where}token {self.which} was never generated: the text has {len(text.ids)}, 0 to"
                    f" {len(text.ids) - 1}: {text.whole!r}"
                )
            return self.which, self.which + 1
        words = [word for word in text.words if any(map(str.isalnum, word.text))]
        if spans := _spans(words, self.which):
            return spans[0]
        near = ", ".join(repr(word.text) for word in words[:12]) or "no word"
        raise TargetError(
            f"{where}{self.which!r} was never generated: the text holds {near}; give one of these, or the text that"
            " is to be explained (text=...)"
        )


def occurrences(text: Text, words: str) -> int:
    """Returns how often words stand in a text, without regard to case: a `Token` is the first of them."""
    return len(_spans([word for word in text.words if any(map(str.isalnum, word.text))], words))


def _spans(words: Sequence[Word], wanted: str) -> list[tuple[int, int]]:
    """Returns the first token, and the one behind the last, of each place where words stand."""
    sought = wanted.casefold().split()
    starts = range(len(words) - len(sought) + 1)
    found = [words[start : start + len(sought)] for start in starts]
    return [(one[0].first, one[-1].end) for one in found if [word.text.casefold() for word in one] == sought]


@dataclass(frozen=True)
class EachWord(ScoreTarget):
    """Every word of the text, one a column; an image whose text is shorter has empty columns at the end.

    Args:
        score: see `Token`.
    """

    needs_logits: ClassVar[bool] = False
    score: TokenScore = "log-odds"

    def __post_init__(self) -> None:
        _check_score(self.score)

    def resolve(self, first: FirstPass) -> list[ImageScore]:
        """Returns a score for each word; raises `TargetError` for a text without any."""
        words = [[(w.text, w.first, w.end) for w in text.words] for text in _output(first, self).texts[0]]
        return _columns([[w for w in one if any(map(str.isalnum, w[0]))] for one in words], self.score, "word")


@dataclass(frozen=True)
class EachToken(ScoreTarget):
    """Every token of the text, one a column, special ones and signs too.

    Args:
        score: see `Token`.
    """

    needs_logits: ClassVar[bool] = False
    score: TokenScore = "log-odds"

    def __post_init__(self) -> None:
        _check_score(self.score)

    def resolve(self, first: FirstPass) -> list[ImageScore]:
        """Returns a score for each token; raises `TargetError` for a text without any."""
        texts = _output(first, self).texts[0]
        return _columns(
            [[(t.strip() or repr(t), n, n + 1) for n, t in enumerate(text.tokens)] for text in texts],
            self.score,
            "token",
        )


@dataclass(frozen=True)
class Answer(ScoreTarget):
    """Why one answer rather than another: how much more probable it is, given image and question.

    The score is ``log p(a) - log p(b)``, each the sum over all tokens of its answer. Both are to be among the texts of
    the pass: ``TextModel.passage(..., text=a, others=[b])``, which `cfcam.explain_text` sees to.

    Args:
        a: the answer that is spoken for.
        b: the one that it is compared with.

    Source: Prabhushankar et al. 2020, "Contrastive explanations in neural networks", arXiv 2008.00178, for the
    question.
    """

    needs_logits: ClassVar[bool] = False
    a: str
    b: str

    def __post_init__(self) -> None:
        if not (isinstance(self.a, str) and isinstance(self.b, str) and self.a.strip() and self.b.strip()):
            raise TargetError(f"Answer({shown(self.a)}, {shown(self.b)}): give two texts")
        if self.a.strip() == self.b.strip():
            raise TargetError(f"Answer({self.a!r}, {self.b!r}): an answer against itself is 0 everywhere")

    def resolve(self, first: FirstPass) -> list[ImageScore]:
        """Returns one score; raises `TargetError` if the pass did not read one of the two."""
        texts = _output(first, self).texts
        return [Against(_read(self.a, texts), _read(self.b, texts), f"{self.a.strip()} against {self.b.strip()}")]


@dataclass(frozen=True, eq=False)
class Passages(ImageScore):
    """The sum of the scores of tokens that stand one behind the other.

    Attributes:
        spans: (N,) first token, and the one behind the last, of each image's text.
        words: what is explained, as shown to people.
        kind: see `Token`.
        names: (N,) the same image by image, where they differ; () where not.
    """

    asked: ClassVar[str] = "a word of a text"
    spans: tuple[tuple[int, int], ...]
    words: str
    kind: TokenScore
    names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What is explained, as shown to people."""
        return self.words

    def __call__(self, output: Any, logits: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        """Returns the scores (M,); as probability that of these tokens; see `ImageScore`."""
        if probability:
            return self.log_probability(output, images).exp()
        return self._summed(output.scores(0, images, self.kind), images)

    def log_probability(self, output: TextOutput, images: Tensor) -> Tensor:
        """Returns the log-probability (M,) of these tokens."""
        return self._summed(output.scores(0, images, "log-probability"), images)

    def _summed(self, scores: Tensor, images: Tensor) -> Tensor:
        span = torch.tensor(self.spans, device=scores.device)[images]
        at = torch.arange(scores.shape[1], device=scores.device)
        return torch.where((at >= span[:, :1]) & (at < span[:, 1:]), scores, 0).sum(1)


@dataclass(frozen=True, eq=False)
class Against(ImageScore):
    """How much more probable one text is than another.

    Attributes:
        own: which of the texts is spoken for.
        other: which it is compared with.
        words: what is explained.
    """

    asked: ClassVar[str] = "an answer against another"
    is_margin: ClassVar[bool] = True
    own: int
    other: int
    words: str

    @property
    def name(self) -> str:
        """What is explained, as shown to people."""
        return self.words

    def __call__(self, output: Any, logits: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        """Returns the differences (M,) of the log-probabilities, or of the probabilities; see `ImageScore`."""
        if not probability:
            return self.log_probability(output, images)
        own, other = (output.scores(n, images, "log-probability").sum(1) for n in (self.own, self.other))
        return own.exp() - other.exp()

    def log_probability(self, output: TextOutput, images: Tensor) -> Tensor:
        """Returns the difference (M,) of the two log-probabilities."""
        own, other = (output.scores(n, images, "log-probability").sum(1) for n in (self.own, self.other))
        return own - other


def _check_score(score: str) -> None:
    if not isinstance(score, str) or score not in _SCORES:
        raise TargetError(f"score {shown(score)} of a token is none of {', '.join(map(repr, _SCORES))}")


def _output(first: FirstPass, target: ScoreTarget) -> TextOutput:
    if not isinstance(first.output, TextOutput):
        raise TargetError(
            f"{target} needs a network that writes text, and this one returns a {type(first.output).__name__}: give a"
            " passage of cfcam.models.TextModel, or call cfcam.explain_text"
        )
    return first.output


def _columns(texts: Sequence[Sequence[tuple[str, int, int]]], kind: TokenScore, what: str) -> list[ImageScore]:
    """Returns a score for each piece (text, first, end) of texts, the n-th of all images in one column."""
    longest = max(map(len, texts), default=0)
    if longest == 0:
        raise TargetError(f"the text has no {what}: nothing was generated that could be explained (text=... gives one)")
    columns: list[ImageScore] = []
    for k in range(longest):
        pieces = [text[k] if k < len(text) else ("", 0, 0) for text in texts]
        names = tuple(name for name, _, _ in pieces)
        shown = names[0] if len(set(names)) == 1 else f"{what} {k}"
        columns.append(Passages(tuple((a, b) for _, a, b in pieces), shown, kind, names))
    return columns


def _read(answer: str, texts: Sequence[Sequence[Text]]) -> int:
    for number, one in enumerate(texts):
        if all(answer.strip() in (text.whole, (text.given or text.whole).strip()) for text in one):
            return number
    known = ", ".join(repr(one[0].whole) for one in texts)
    raise TargetError(
        f"answer {answer!r} was not read in this pass, which read {known}: give it as text=... or others=[...]"
    )
