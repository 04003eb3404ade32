"""Every reader of a file, and which files it is given; what it raises for a wrong one is a `CfcamError`."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

KEY = b"a key of the tests only"


class Reader(NamedTuple):
    """A reader.

    Attributes:
        kind: of the files that it reads, as `tests.fuzz.seeds` makes them.
        names: how the names of these files end; several files of a kind may lie beside each other.
        read: given the file that was changed.
        beside: whether the other files of the kind are laid beside it, unchanged.
    """

    kind: str
    names: tuple[str, ...]
    read: Callable[[Path], Any]
    beside: bool = False


def _nothing(text: str) -> None:
    del text


def picture(path: Path) -> None:
    from cfcam.imaging import read_image

    read_image(path, max_pixels=2**22).rgb()


def volume(path: Path) -> None:
    from cfcam.imaging import read_volume

    read_volume(path, channel=0 if path.name.startswith("c.") else None, max_voxels=2**22)


def folder_of_slices(path: Path) -> None:
    from cfcam.imaging import read_volume

    read_volume(path.parent, max_voxels=2**22)


def without_patient(path: Path) -> None:
    from cfcam.exchange.deidentify.deidentifier import Deidentifier
    from cfcam.exchange.deidentify.one import cleaned, needs_decoder

    if not needs_decoder(path, "the file"):  # else it is done in a process of its own, which may die
        cleaned(path, "the file", Deidentifier(KEY, max_pixels=2**22, max_voxels=2**22))


def picture_with_right_sums(path: Path) -> None:
    """A PNG whose sums are made right again: else whatever was changed would be refused for them."""
    data, at, parts = path.read_bytes(), 8, []
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        parts.append(data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    path.write_bytes(data[:8] + b"".join(parts))
    picture(path)


def tar(path: Path) -> None:
    """Each picture that is found in a tar, by its headers with their sums made right again."""
    from cfcam.errors import CfcamError
    from cfcam.jobs.inputs.tars import pictures_in

    data = bytearray(path.read_bytes())
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    path.write_bytes(data)
    for one in pictures_in(path):
        try:
            one.content()
        except CfcamError:
            continue


def packed_volume(path: Path) -> None:
    """A volume that is compressed once it was changed: else the changes would hit the compression alone."""
    packed = path.with_name(f"{path.stem}.nii.gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    volume(packed)


def pickled(path: Path) -> None:
    """The pickle of a checkpoint, in an archive with right sums."""
    archive = path.with_suffix(".pt")
    with zipfile.ZipFile(archive, "w") as new:
        new.writestr("a/data.pkl", path.read_bytes())
        for name, size in (("data/0", 432), ("data/1", 16), ("data/2", 8), ("version", 0), ("byteorder", 0)):
            new.writestr(f"a/{name}", {"version": b"3\n", "byteorder": b"little"}.get(name, bytes(size)))
    weights(archive)


def weights(path: Path) -> None:
    from cfcam.models.weights import read_checkpoint

    read_checkpoint(path)


def explanation(path: Path) -> None:
    from cfcam.explanation import Explanation

    found = Explanation.load(path.parent)
    for method in found.methods:
        found.heatmaps(method)
    repr(found)


def store(path: Path) -> None:
    from cfcam.jobs.store.read import open_store

    where = next(folder for folder in path.parents if folder.name == "maps.zarr")
    found = open_store(where)
    repr(found)
    list(found.scores.columns)
    for number in range(min(2, len(found))):
        found.heatmap(number)
        found.raw(number)


def audit(path: Path) -> None:
    from cfcam.clinical.audit.audit import Audit

    book = Audit(path, create=False)
    book.verify()
    list(book.records())


def export(path: Path) -> None:
    from cfcam.clinical.audit.export import verify_export

    verify_export(path)


def limits(path: Path) -> None:
    from cfcam.clinical.checks.results import Limits

    Limits.read(path)


def classes(path: Path) -> None:
    from cfcam.models.classes import read_classes

    for name in read_classes(path):
        name.encode()


def card(path: Path) -> None:
    from cfcam.files import digest
    from cfcam.jobs.evidence.files import read_fields

    digest(read_fields(path, "--card"))


def stated(path: Path) -> None:
    from cfcam.models.stated import from_json

    from_json(path, "stated beside the weights")


def manifest(path: Path) -> None:
    from cfcam.jobs.runs.manifest import Manifest

    for record in Manifest.read(path.parent):
        record.line()


def provenance(path: Path) -> None:
    from cfcam import json_text

    json_text.read(path, finite=False)


def table(path: Path) -> None:
    from cfcam.jobs.cases.table import read_table

    read_table(path, _nothing)


def boxes(path: Path) -> None:
    from cfcam.jobs.inputs.ground_truth import read_boxes

    read_boxes(path)


def pairs(path: Path) -> None:
    from cfcam.jobs.compare.pairs import read_pairs

    read_pairs(path)


def predictions(path: Path) -> None:
    from cfcam.clinical.predictions import read_predictions, to_tensors

    to_tensors(*read_predictions(path))


def zones(path: Path) -> None:
    from cfcam.jobs.check.zones import Zones

    Zones.of(["left=masks.png", "right=masks.png"], str(path)).reported(Path("a.png"))


def gateway(path: Path) -> None:
    from cfcam.jobs.gateway.toml import read_table

    read_table(path)


def key(path: Path) -> None:
    from cfcam.exchange.deidentify.deidentifier import Deidentifier
    from cfcam.exchange.deidentify.key import kept_key

    Deidentifier(kept_key(path))


_PICTURES = (".png", ".jpg", ".bmp", ".webp", ".gif", ".tif")
_text = partial(Reader, "texts")

READERS: dict[str, Reader] = {
    "pictures": Reader("pictures", _PICTURES, picture),
    "png-with-right-sums": Reader("pictures", (".png",), picture_with_right_sums),
    "dicom": Reader("dicom", (".dcm",), picture),
    "dicom-volume": Reader("dicom", ("enhanced.dcm",), volume),
    "tars": Reader("tars", (".tar",), tar),
    "series": Reader("series", (".dcm",), folder_of_slices, beside=True),
    "deidentify": Reader("dicom", ("ed.dcm", "implicit.dcm", "radiograph.dcm"), without_patient),
    "nifti": Reader("nifti", (".nii", ".nii.gz"), volume),
    "nifti-packed": Reader("nifti", (".nii",), packed_volume),
    "pickles": Reader("weights", (".pkl",), pickled),
    "checkpoints": Reader("weights", (".pt", ".pth"), weights),
    "safetensors": Reader("weights", (".safetensors",), weights),
    "explanation": Reader("explanation", (".json", ".safetensors"), explanation, beside=True),
    "store": Reader("store", ("zarr.json", ".parquet", "c/0/0/0"), store, beside=True),
    "audit": Reader("audit", (".sqlite",), audit),
    "audit-export": Reader("audit", (".jsonl",), export),
    "limits": _text(("limits.json",), limits),
    "classes": _text(("classes.json", "list.json", "classes.txt"), classes),
    "card": _text(("card.json", "card.yaml"), card),
    "stated": _text(("preprocess.json",), stated),
    "manifest": _text(("manifest.jsonl",), manifest),
    "run": _text(("run.json",), provenance),
    "table": _text(("table.csv",), table),
    "boxes": _text(("boxes.csv",), boxes),
    "pairs": _text(("pairs.csv",), pairs),
    "predictions": _text(("predictions.csv",), predictions),
    "zones": _text(("zones.csv",), zones),
    "gateway": _text(("gateway.toml",), gateway),
    "key": _text(("key.txt",), key),
}
