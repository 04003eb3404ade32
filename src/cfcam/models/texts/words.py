"""Tokens of a text as people read it: what each adds to it, and which of them are one word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cfcam.capture.targets.tokens import Text, Word

_MARKS = re.compile(r"^(##|@@|[▁ĠĊ]+)|(</w>|@@)$")
_PARTS = re.compile(r"\w+|[^\w\s]+")
_SIGN = re.compile(r"[^\w]+")


def text_of(tokenizer: Any, ids: Sequence[int]) -> Text:
    """Returns a text's tokens and words.

    What a token adds is the difference between the text with it and without it, so that no tokenizer's marks of blanks
    have to be known. A word ends at a blank; signs at its ends are words of their own.

    Args:
        tokenizer: decodes ids.
        ids: of the text, special ones too.
    """
    special = set(getattr(tokenizer, "all_special_ids", ()))
    tokens, words, before = list[str](), list[Word](), ""
    parts: list[tuple[str, int]] = []

    def close() -> None:
        if parts and (found := "".join(part for part, _ in parts).strip()):
            words.append(Word(found, parts[0][1], parts[-1][1] + 1))
        parts.clear()

    for n, token in enumerate(ids):
        if token in special:
            close()
            tokens.append(_own(tokenizer, token))
            continue
        after = _decoded(tokenizer, [i for i in ids[: n + 1] if i not in special])
        new = after[len(before) :] if after.startswith(before) else _own(tokenizer, token)
        sign = _is_sign(new) or (len(parts) == 1 and _is_sign(parts[0][0]))
        if new.strip() and (sign or new[0].isspace() or before[-1:].isspace()):
            close()
        parts.append((new, n))
        tokens.append(new)
        before = after
    close()
    return Text(tuple(ids), tuple(tokens), tuple(words), before.strip())


def unknown_words(tokenizer: Any, text: str) -> tuple[str, ...]:
    """Returns the words and signs of a text that a tokenizer does not know, each once; it would read them as one token.

    The token for what is not known, written out in the text, is what was asked for.

    Args:
        tokenizer: makes ids.
        text: any.
    """
    mark, number = getattr(tokenizer, "unk_token", None), getattr(tokenizer, "unk_token_id", None)

    def unknown(part: str) -> bool:
        return number in tokenizer(part, add_special_tokens=False)["input_ids"]

    if mark is None or number is None or not unknown(text):
        return ()
    found = dict[str, None]()
    for word in (one for one in text.split() if mark not in one and unknown(one)):
        found |= dict.fromkeys([part for part in _PARTS.findall(word) if unknown(part)] or [word])
    return tuple(found) or (() if mark in text else (text.strip(),))


def _is_sign(token: str) -> bool:
    return _SIGN.fullmatch(token.strip() or "x") is not None


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _own(tokenizer: Any, token: int) -> str:
    found = tokenizer.convert_ids_to_tokens([token])[0]
    return _MARKS.sub("", str(found))
