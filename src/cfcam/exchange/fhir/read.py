"""The numbers of a study, as ``cfcam explain`` writes them: the file from which a Bundle can be made later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfcam.clinical.report.numbers import FORMAT
from cfcam.errors import InputError

Numbers = Mapping[str, Any]
"""What `cfcam.clinical.report.study_numbers` returns."""

ENDING = "_regions.json"
"""What the file is called behind the name of its study."""

_LARGEST = 256 * 2**20
_NEEDED = {"name": str, "source": dict, "model": dict, "maps": list, "checks": list, "uncertainty": list,
           "limits": list, "provenance": dict}  # fmt: skip


def read_study(path: Path) -> Numbers:
    """Reads the numbers of a study, from ``NAME_regions.json`` or the ``study.json`` that is attached to a PDF.

    Raises:
        InputError: it cannot be read, or is another kind of file.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path.name}: is larger than the numbers of a study can be ({_LARGEST >> 20} MiB)")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path.name}: is no JSON; give the NAME{ENDING} that cfcam explain --regions writes"
        ) from error
    return checked(found, path.name)


def checked(found: Any, shown: str) -> Numbers:
    """Returns values if they are the numbers of a study.

    Args:
        found: the values.
        shown: what the message calls them.

    Raises:
        InputError: they are not, or are written in a form that this version does not know.
    """
    ours = isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in _NEEDED.items())
    if not ours:
        raise InputError(
            f"{shown}: holds no numbers of a study; give the NAME{ENDING} that cfcam explain --regions writes"
        )
    if found.get("format") != FORMAT:
        raise InputError(
            f"{shown}: is written in form {found.get('format')!r}, and this version reads {FORMAT}: explain anew"
        )
    return found
