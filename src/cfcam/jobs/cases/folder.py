"""What an evaluation runs over: pictures with what is known of them, from a folder, a CSV file, tars or a store."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from cfcam import json_text
from cfcam.errors import CfcamError, ImageError, JobError, one_line
from cfcam.imaging import list_images
from cfcam.imaging.reading.elsewhere import Elsewhere
from cfcam.jobs.cases.case import Case, ignore_notice
from cfcam.jobs.inputs.ground_truth import Notice
from cfcam.jobs.inputs.objects import Address, objects_at
from cfcam.jobs.inputs.places import given
from cfcam.jobs.inputs.tars import Member, beside, pictures_in, tars

_MASKS = (".mask.png", ".seg.png")
_MASK_NAME = re.compile(r"(.+?)[_-]mask(?:[_-]?\d+)?", re.IGNORECASE)


def find_cases(
    data: str | Path,
    classes: Sequence[str] | None = None,
    *,
    output: Path | None = None,
    notice: Notice = ignore_notice,
) -> list[Case]:
    """Finds the cases in a folder of pictures, in a CSV file, in tars, in an object store, or of a single picture.

    In a folder, sub-folders called like classes give the labels (where the names of the classes are not known: like
    indices), and masks are found as ``masks/NAME.*`` or ``NAME_mask.*``. For a CSV file see
    `cfcam.jobs.cases.table.read_table`. Below an address of an object store all is as in a folder. In tars the members
    of a sample say it: ``.cls`` its label, ``.mask.png`` or ``.seg.png`` its mask.

    Args:
        data: folder, CSV file, tars, address, or picture.
        classes: names of the network's classes, if known.
        output: the folder that the run writes into: passed over if it lies within ``data``.
        notice: told of what is not used.

    Returns:
        At least one case, in natural order, or in that of the file.

    Raises:
        JobError: the CSV file cannot be used, or all pictures of a folder are masks.
        ImageError: there is no such file or folder, or no picture in it.
    """
    path = given(data)
    if isinstance(path, Address):
        return CaseFolder(path, classes).cases(output, notice)
    if several := tars(path):
        stems = Counter(tar.stem for tar in several)
        called = {tar: tar.stem if stems[tar.stem] == 1 else str(tar) for tar in several}
        return [_of_sample(one, tar, called[tar]) for tar in several for one in pictures_in(tar)]
    if path.suffix.lower() in (".csv", ".tsv") and not path.is_dir():
        from cfcam.jobs.cases.table import read_table

        if not path.exists():
            raise JobError(f"{path}: no such file; check the path")
        return read_table(path, notice)
    if not path.is_dir():
        if not path.exists() and not isinstance(path, Elsewhere):
            raise ImageError(f"{path}: no such file or folder; give a folder of pictures or a CSV file")
        return [Case(path.name, path)]
    return CaseFolder(path, classes).cases(output, notice)


def _of_sample(picture: Member, tar: Path, called: str) -> Case:
    """A sample of WebDataset's; a label that cannot be read is the case's problem."""
    name = f"{called}/{picture.relative_to(tar).as_posix()}"
    try:
        label = _label(picture)
        masks = tuple(filter(None, (beside(picture, ending) for ending in _MASKS)))[:1]
    except (CfcamError, UnicodeDecodeError) as error:
        return Case(name, picture, problem=f"its label cannot be read ({one_line(error)})")
    return Case(name, picture, label or None, masks)


def _label(picture: Member) -> str | None:
    """What ``.cls`` says, or for want of it ``.json`` under "label" or "cls": a name or an index."""
    if (said := beside(picture, ".cls")) is not None:
        return said.content().decode("utf-8").strip()
    if (file := beside(picture, ".json")) is None:
        return None
    content = json_text.parse(file.content(), file.name, JobError, finite=False)
    found = [content[key] for key in ("label", "cls") if key in content] if isinstance(content, Mapping) else []
    return str(found[0]) if found and type(found[0]) in (int, str) else None


class CaseFolder:
    """A folder of pictures: which are masks, and what the names of its sub-folders say.

    Args:
        root: the folder.
        classes: names of the network's classes, if known.
    """

    kind = "picture"
    mask_folders = frozenset({"mask", "masks"})
    picture_folders = frozenset({"image", "images", "img", "imgs"})
    first_channel = ""  # what its name ends with, and that of its mask does not

    def __init__(self, root: Path, classes: Sequence[str] | None) -> None:
        self.root = root
        self.classes = None if classes is None else {name.casefold(): name for name in classes}
        self._known: dict[str, tuple[str, ...]] = {}  # folders below the root, by what stands before a file's name

    def files(self, output: Path | None, notice: Notice) -> list[Path]:
        """Returns pictures and masks, apart from what lies in the output folder."""
        if isinstance(self.root, Address):
            return list(objects_at(self.root, recursive=True))
        files = list_images(self.root, recursive=True)
        if output is None:
            return files
        inside, within = output.resolve(), dict[str, bool]()  # by folder: a hundred thousand files lie in few
        found = []
        for file in files:
            above = os.path.dirname(file)  # noqa: PTH120 (a tenth of the time)
            if above not in within:
                within[above] = inside in (real := file.parent.resolve()).parents or inside == real
            if not (inside in file.resolve().parents if file.is_symlink() else within[above]):
                found.append(file)
        return found

    def stem(self, file: Path) -> str:
        """Returns a file's name without its ending."""
        return file.stem

    def cases(self, output: Path | None, notice: Notice) -> list[Case]:
        """Returns the cases; see `find_cases`."""
        files = self.files(output, notice)
        keys = {self._key(file) for file in files}
        masks: dict[str, list[Path]] = {}
        pictures = []
        for file in files:
            if (key := self._mask_of(file, keys)) is None:
                pictures.append(file)
            else:
                masks.setdefault(key, []).append(file)
        if not pictures:
            raise JobError(f"{self.root}: there is no {self.kind} in it, apart from masks and what an evaluation wrote")
        cases = self._with_masks(pictures, masks)
        used = {mask for case in cases for mask in case.masks}
        if unused := [mask for several in masks.values() for mask in several if mask not in used]:
            notice(f"masks that belong to no {self.kind}: {len(unused)}, such as {unused[0].relative_to(self.root)}")
        self._tell_unlabelled(cases, notice)
        return cases

    def _with_masks(self, pictures: list[Path], masks: dict[str, list[Path]]) -> list[Case]:
        stems = Counter(self.stem(picture) for picture in pictures)
        found = []
        for picture in pictures:
            key = self._key(picture)
            own = masks.get(key) or masks.get(key.removesuffix(self.first_channel), [])
            if not own and stems[self.stem(picture)] == 1:
                own = masks.get(self.stem(picture), [])
            name = "/".join([*self._folders(picture), picture.name]) if picture != self.root else picture.name
            found.append(Case(name, picture, self._label(picture), tuple(own)))
        return found

    def _folders(self, file: Path) -> tuple[str, ...]:
        above = os.path.dirname(file)  # noqa: PTH120 (a tenth of the time)
        if (folders := self._known.get(above)) is None:
            folders = self._known[above] = file.relative_to(self.root).parts[:-1]
        return folders

    def _is_class(self, folder: str) -> bool:
        return self.classes is not None and folder.casefold() in self.classes

    def _key(self, file: Path) -> str:
        """The place of a picture without its ending, and without a folder that only says that these are pictures."""
        folders = [f for f in self._folders(file) if f.casefold() not in self.picture_folders or self._is_class(f)]
        return "/".join([*folders, self.stem(file)])

    def _mask_of(self, file: Path, keys: set[str]) -> str | None:
        """The key of the picture that a file is a mask of; None for a picture."""
        folders, named = self._folders(file), _MASK_NAME.fullmatch(self.stem(file))
        of_masks = [f for f in folders if f.casefold() in self.mask_folders and not self._is_class(f)]
        if of_masks:
            drop = {f.casefold() for f in of_masks} | self.picture_folders
            own = named[1] if named else self.stem(file)
            return "/".join([*(f for f in folders if f.casefold() not in drop), own])
        if named is None:
            return None
        key = self._key(file.with_name(named[1] + file.suffix))
        return key if key in keys else None

    def _label(self, picture: Path) -> int | str | None:
        for folder in reversed(self._folders(picture)):
            if self.classes is None and folder.isdecimal():
                return int(folder)
            if self.classes is not None and folder.casefold() in self.classes:
                return self.classes[folder.casefold()]
        return None

    def _tell_unlabelled(self, cases: list[Case], notice: Notice) -> None:
        without = {self._folders(case.image)[0] for case in cases if case.label is None and self._folders(case.image)}
        named = sorted(folder for folder in without if folder.casefold() not in self.picture_folders)
        if named:
            told = "the names of the classes are not known" if self.classes is None else "no class is called so"
            more = f" and {len(named) - 1} more folders" if len(named) > 1 else ""
            notice(f"{self.kind}s in {named[0]}/{more} have no label: {told}")
