from __future__ import annotations

import pytest

from cfcam.models.texts.words import text_of


class Pieces:
    """A tokenizer that writes its pieces one behind the other, as byte-pair encodings do."""

    all_special_ids = (0,)

    def __init__(self, *pieces):
        self.pieces = ("</s>", *pieces)

    def decode(self, ids, **kwargs):
        return "".join(self.pieces[id_] for id_ in ids)

    def convert_ids_to_tokens(self, ids):
        return [self.pieces[id_] for id_ in ids]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (("no", "dule", ",", " left", " up", "per"), [("nodule", 0, 2), (",", 2, 3), ("left", 3, 4), ("upper", 4, 6)]),
        ((" yes", "."), [("yes", 0, 1), (".", 1, 2)]),
        (("(", "small", ")", " one"), [("(", 0, 1), ("small", 1, 2), (")", 2, 3), ("one", 3, 4)]),
        (("a ", "b", "  ", "c"), [("a", 0, 1), ("b", 1, 3), ("c", 3, 4)]),
        (("right", "-", "sided"), [("right", 0, 1), ("-", 1, 2), ("sided", 2, 3)]),
    ],
)
def test_a_word_ends_at_a_blank_and_signs_are_words_of_their_own(pieces, words):
    found = text_of(Pieces(*pieces), range(1, len(pieces) + 1))
    assert [(word.text, word.first, word.end) for word in found.words] == words
    assert found.tokens == pieces


def test_special_tokens_are_tokens_and_no_words():
    found = text_of(Pieces("yes"), [1, 0])
    assert (found.tokens, found.whole, len(found.words)) == (("yes", "</s>"), "yes", 1)
