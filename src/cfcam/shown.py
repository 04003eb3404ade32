"""How people are told: of numbers of the network's answer (programs read every digit), of counts, and of what lacks."""

from __future__ import annotations

import math
import os

MARGIN_MEANING = "margin: logit of the first class less that of the second; above 0 the network prefers the first"
"""What the number beside a contrast of two classes is, wherever there is room to say so."""

DEEPER = "recursive=True"
"""How an error says that subfolders can be taken; a command says it with its option, or how to do without."""

_MOST_DECIMALS = 4


def probability_text(value: float | None, decimals: int = 2) -> str:
    """Returns a probability as people read it; "" for None.

    It has so many decimals, and more of them while they would round it to 0 or to 1: 0.999 is not 1.00, and 0.0004 is
    not 0.00. What four decimals cannot tell from 0 or 1 is "<0.0001" or ">0.9999"; so is a 0 or a 1 itself, for
    a softmax that reads 1 in 32 bits stands for any number within a ten millionth of it.

    Args:
        value: in [0, 1].
        decimals: at least, up to 4.

    Example:
        >>> [probability_text(p) for p in (0.5, 0.999, 0.99996, 1.0, 0.0004, 2e-7)]
        ['0.50', '0.999', '>0.9999', '>0.9999', '0.0004', '<0.0001']
        >>> probability_text(0.5, 3), probability_text(0.9996, 3), probability_text(float("nan"))
        ('0.500', '0.9996', 'not finite')
    """
    if value is None:
        return ""
    if not math.isfinite(value):
        return "not finite"
    for places in range(decimals, _MOST_DECIMALS + 1):
        if 0 < float(text := f"{value:.{places}f}") < 1:
            return text
    return "<0.0001" if value < 0.5 else ">0.9999"


def margin_text(value: float) -> str:
    """Returns a difference of two scores with its sign and its name.

    Example:
        >>> margin_text(2.314), margin_text(-0.5), margin_text(0.0012), margin_text(0.0)
        ('margin +2.31', 'margin -0.50', 'margin +0.0012', 'margin 0')
    """
    if not math.isfinite(value):
        return "margin not finite"
    small = 0 < abs(value) < 0.01
    return "margin 0" if value == 0 else f"margin {value:+.2g}" if small else f"margin {value:+.2f}"


def answer_text(probability: float | None, margin: float | None = None, decimals: int = 2) -> str:
    """Returns what stands beside an explained class: its probability, of a contrast its margin; "" if it has neither.

    Example:
        >>> answer_text(0.25), answer_text(None, -1.5), answer_text(None)
        ('0.25', 'margin -1.50', '')
    """
    return probability_text(probability, decimals) if margin is None else margin_text(margin)


def counted(count: int, what: str, several: str = "") -> str:
    """Returns a count with its noun.

    Example:
        >>> counted(1, "check"), counted(3, "check")
        ('1 check', '3 checks')
    """
    return f"{count} {what if count == 1 else several or what + 's'}"


def writable(text: str) -> str:
    r"""Returns a text that UTF-8 can hold: halves of surrogate pairs as they are in Python's source.

    So Python gives names of files whose bytes are not in UTF-8.

    Example:
        >>> writable("scan.png"), writable("scan\udcff.png")
        ('scan.png', 'scan\\udcff.png')
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def absence(path: str | os.PathLike[str], what: str = "file") -> str:
    """Returns what is said of a path that leads to nothing.

    Args:
        path: which.
        what: is not there, unless a link to it is.
    """
    return "is a link to nothing" if os.path.islink(path) else f"no such {what}"  # noqa: PTH114 (paths are slow)
