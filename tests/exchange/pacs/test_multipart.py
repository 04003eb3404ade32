from __future__ import annotations

import pytest

from cfcam.exchange.pacs.multipart import only_part

CONTENT = b"\r\n--edg\r\n--e\r\n\r\nthe boundary is nearly here: \r\n--edgf and not --edge"
MESSAGE = (
    b"preamble\r\n--edge\r\nContent-Type: application/dicom\r\nX: y\r\n\r\n" + CONTENT + b"\r\n--edge--\r\nepilogue"
)


@pytest.mark.parametrize("size", range(1, 40))
def test_the_content_is_the_same_however_the_message_is_cut(size):
    pieces = [MESSAGE[start : start + size] for start in range(0, len(MESSAGE), size)]
    assert b"".join(only_part(pieces, b"edge")) == CONTENT


def test_a_part_without_a_head_an_empty_part_and_the_first_of_two():
    assert b"".join(only_part([b"--edge\r\n\r\ncontent\r\n--edge--"], b"edge")) == b"content"
    assert b"".join(only_part([b"--edge\r\nA: b\r\n\r\n\r\n--edge--"], b"edge")) == b""
    assert b"".join(only_part([b"--edge\r\nA: b\r\n\r\n1\r\n--edge\r\nA: b\r\n\r\n2\r\n--edge--"], b"edge")) == b"1"


@pytest.mark.parametrize("cut", range(len(MESSAGE) - len(b"\r\n--edge--\r\nepilogue") + 7))
def test_a_message_that_ends_before_its_part_does_is_an_error(cut):
    with pytest.raises(ValueError, match=r"cut off|has no part"):
        list(only_part([MESSAGE[:cut]], b"edge"))


def test_a_message_that_has_no_part_is_not_held_for_ever():
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield b"x" * 1000

    with pytest.raises(ValueError, match="has no part"):
        list(only_part(endless(), b"edge"))
    assert len(asked) < 20
