"""Neutral names for studies: a DICOM file or its folder is often called after the patient, and nothing else may be.

A study is called ``study-`` and eight hexadecimal digits of the SHA-256 of its UID, so that it has the same name in
every run; in messages also by its number among the inputs, so that the person who started the run can find it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cfcam.errors import CfcamError, without_name
from cfcam.files import sha256_of
from cfcam.imaging import Volume
from cfcam.imaging.reading.dicom_object import parsed
from cfcam.imaging.reading.files import DICOM_EXTENSIONS, NIFTI_EXTENSIONS, is_nifti
from cfcam.imaging.reading.kinds import is_dicom_file
from cfcam.imaging.reading.listing import EXTENSIONS
from cfcam.imaging.reading.series import has_several_planes, scan_files, scan_folder
from cfcam.jobs.inputs.find import Input, Kind
from cfcam.jobs.inputs.names import stem_of

_DIGITS = 8
_NO_DICOM = (*(ending for ending in EXTENSIONS if ending not in DICOM_EXTENSIONS), *NIFTI_EXTENSIONS)
_HIDDEN = "(file)"
_SHORTEST = 4  # a shorter name of a file could be a part of any word


def comes_from_dicom(source: Input) -> bool:
    """Tells whether an input is DICOM: a folder of slices, or a file as it is read; of what is not there, may be."""
    if source.problem is not None:
        return not source.path.name.lower().endswith(_NO_DICOM)
    if source.path.is_dir():
        return True
    if is_nifti(source.path):
        return False
    try:
        return is_dicom_file(source.path)
    except OSError:
        return False


def with_labels(inputs: Sequence[Input]) -> tuple[Input, ...]:
    """Returns the inputs, those that are DICOM with a neutral label; no two have the same."""
    taken: set[str] = set()
    numbers = Counter[str]()
    labelled = []
    for source in inputs:
        if comes_from_dicom(source):
            known = "missing" if source.problem is not None else _identity(source)[:_DIGITS]
            first = label = f"study-{known}"
            while label in taken:
                numbers[first] += 1
                label = f"{first}-{numbers[first] + 1}"
            taken.add(label)
            source = replace(source, label=label)
        labelled.append(source)
    return tuple(labelled)


def labelled(path: Path) -> Input:
    """Returns a file or folder as an input; one that is DICOM with its neutral label."""
    source = Input(path, kind=Kind.VOLUME if path.is_dir() else Kind.PICTURE)
    if path.is_file() and comes_from_dicom(source) and has_several_planes(path):
        source = Input(path, kind=Kind.VOLUME)
    return with_labels([source])[0]


def renamed(image: Any, source: Input) -> Any:
    """Returns what was read from an input, without the path where it has a label."""
    if source.label is None:
        return image
    if isinstance(image, Volume):
        return replace(image, source=replace(image.source, path=source.shown))
    return replace(image, path=source.shown)


def without_channel_names(volume: Volume) -> Volume:
    """Returns a volume of several files without the names of those that are DICOM, which may be the patient's."""
    channels = volume.source.channels
    hidden = [file for _, file in channels if not file.lower().endswith(NIFTI_EXTENSIONS)]
    if not hidden:
        return volume
    named = tuple((name, _HIDDEN if file in hidden else file) for name, file in channels)
    notices = volume.notices
    for file in sorted({stem for one in hidden for stem in (one, Path(one).stem)}, key=len, reverse=True):
        notices = tuple(re.sub(rf"(?<![\w-]){re.escape(file)}(?![\w-])", _HIDDEN, notice) for notice in notices)
    return replace(volume, source=replace(volume.source, channels=named), notices=notices)


def without_paths(text: str, source: Input, number: int, count: int) -> str:
    """Returns a message about an input; for one with a label, without the names of its file, folder and slices.

    Args:
        text: the message.
        source: the input.
        number: its number among the inputs, from 1.
        count: how many inputs there are.
    """
    if source.label is None:
        return text
    return f"{without_name(neutral(text, source), source.label)} (input {number} of {count})"


def neutral(text: str, source: Input) -> str:
    """Returns a text with the label of an input in place of the names of its file, folder and slices."""
    if source.label is None:
        return text
    for name, said in sorted(_names_of(source, source.label), key=lambda pair: -len(pair[0])):
        text = text.replace(repr(name), said)  # as a name with control characters is shown
        text = re.sub(_alone(name), said, text)
    return text


def _names_of(source: Input, label: str) -> list[tuple[str, str]]:
    """What an input and its slices are called anywhere, and what is said instead."""
    places = dict.fromkeys([source.path, source.absolute, source.path.resolve()])
    names = [(str(place), label) for place in places]
    names += [(source.path.name, label)] if source.path.name else []
    if source.path.is_dir():
        try:
            files = sorted(file.name for file in source.path.iterdir())
        except OSError:  # no name in it can be told then
            files = []
        for n, name in enumerate(files, start=1):
            said = f"file {n} of {len(files)} in the folder"
            names += [(str(place / name), said) for place in places]
            names += [(name, said)]
    return names


def _alone(name: str) -> str:
    """Returns a pattern for a name that is no part of a longer word; one that may be a word must look like a path."""
    if len(name) < _SHORTEST:
        return rf"(?<![\w./-]){re.escape(name)}(?=[/:])"
    return rf"(?<![\w-]){re.escape(name)}(?![\w-])"


def _identity(source: Input) -> str:
    """Hexadecimal digits that belong to the object or its series, whatever it is called and wherever it lies."""
    uids = _uids(source)
    if not uids:
        uids = [_digest_of(source.path)]
    return hashlib.sha256("\n".join(sorted(uids)).encode()).hexdigest()


def _uids(source: Input) -> list[str]:
    try:
        if source.kind is Kind.VOLUME:
            found = scan_folder(source.path) if source.path.is_dir() else scan_files([source.path])
            return sorted({one.uid for one in found.series if one.uid})
        with parsed(source.path, "the input", pixels=False) as dataset:
            uid = str(dataset.get("SOPInstanceUID") or "")
    except CfcamError:
        return []
    return [uid] if uid else []


def _digest_of(path: Path) -> str:
    """Of what cannot be read as DICOM: of its bytes, or of how many files a folder holds."""
    try:
        return sha256_of(path) if path.is_file() else str(sum(1 for _ in path.iterdir()))
    except OSError:
        return ""


def without_stem(text: str, given: Input) -> str:
    """Returns a line without the words that hold the name of a labelled input, such as that of its mask."""
    stem = stem_of(given.path)
    if given.label is None or not stem:
        return text
    if len(stem) < _SHORTEST:  # it could be a part of any word
        return re.sub(rf"(?<!\w){re.escape(stem)}[._]\S*", given.label, text)
    return re.sub(rf"\S*{re.escape(stem)}\S*", given.label, text)


def without_names(text: str, names: Iterable[str], stem: str) -> str:
    """Returns a message without names of files, folders and patients, each of which may say who somebody is.

    Args:
        text: the message.
        names: of whatever it may name; hidden where they stand whole, so that no word is rewritten for one.
        stem: the picture's name without its ending; a mask is often called after it, as in ``lungs_STEM.png``.
    """
    whole = rf"(?<![^\W_]){re.escape(stem)}(?![^\W_])"
    text = re.sub(rf"[\w./-]*{whole}[\w./-]*\.\w+", _HIDDEN, text)
    for name in sorted({one for one in names if one}, key=len, reverse=True):
        text = re.sub(_alone(name), _HIDDEN, text)
    return text
