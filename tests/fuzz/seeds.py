"""Valid files of every kind that cfcam reads, small, made once for a folder."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

Files = dict[str, bytes]
"""Name -> content."""


def pictures() -> Files:
    from PIL import Image

    grey = np.arange(16 * 12, dtype=np.uint8).reshape(12, 16)
    rgb = np.stack([grey, grey[::-1], 255 - grey], -1)
    deep = grey.astype(np.uint16) * 257
    made: Files = {}

    def add(name: str, array: np.ndarray, mode: str | None = None, **options: object) -> None:
        picture = Image.fromarray(array)
        stream = io.BytesIO()
        (picture.convert(mode) if mode else picture).save(stream, **options)
        made[name] = stream.getvalue()

    add("grey.png", grey, format="PNG")
    add("deep.png", deep, format="PNG")
    add("clear.png", rgb, "RGBA", format="PNG")
    add("palette.png", rgb, "P", format="PNG", transparency=3)
    add("colour.jpg", rgb, format="JPEG", exif=_turned())
    add("colour.bmp", rgb, format="BMP")
    add("colour.webp", rgb, format="WEBP", lossless=True)
    add("colour.gif", rgb, "P", format="GIF", save_all=True, append_images=[Image.fromarray(grey).convert("P")])
    add("grey.tif", deep, format="TIFF")
    add("packed.tif", rgb, format="TIFF", compression="tiff_lzw")
    add("zip.tif", rgb, "RGBA", format="TIFF", compression="tiff_adobe_deflate")
    add("cmyk.tif", rgb, "CMYK", format="TIFF")
    add("float.tif", grey.astype(np.float32) / 255, format="TIFF")
    return made


def _turned() -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6
    return exif.tobytes()


def dicom() -> Files:
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

    from tests.imaging import dicoms

    stored = dicoms.phantom((3, 8, 10))
    made: Files = {}

    def add(name: str, dataset: object) -> None:
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        made[name] = stream.getvalue()

    for name, syntax in (("deflated", DeflatedExplicitVRLittleEndian), ("implicit", ImplicitVRLittleEndian)):
        one = dicoms.ct(stored[0], (0.0, 0.0, 0.0))
        one.file_meta.TransferSyntaxUID = syntax
        add(f"{name}.dcm", one)
    packed = dicoms.ct(stored[1], (0.0, 0.0, 0.0))
    packed.compress(RLELossless, generate_instance_uid=False)
    add("rle.dcm", packed)
    add("enhanced.dcm", dicoms.enhanced(stored))
    add("radiograph.dcm", dicoms.radiograph(stored[0]))
    add("loop.dcm", dicoms.ultrasound(np.stack([np.stack([s % 256] * 3, -1) for s in stored]).astype(np.uint8)))
    return made | _compressed_of_pydicom()


def _compressed_of_pydicom() -> Files:
    """Small pictures in the compressions of decoders in C, C++ and Rust."""
    from pydicom.data import get_testdata_file

    names = ("JPEG2000-embedded-sequence-delimiter.dcm", "SC_rgb_small_odd_jpeg.dcm", "MR_small_jpeg_ls_lossless.dcm",
             "MR_small_jp2klossless.dcm", "JPGExtended.dcm")  # fmt: skip
    found = {name: get_testdata_file(name, download=False) for name in names}
    files = {name: Path(path).read_bytes() for name, path in found.items() if path is not None}
    return {name: data for name, data in files.items() if len(data) < 2**18}


def series() -> Files:
    from tests.imaging import dicoms

    made: Files = {}
    for number, plane in enumerate(dicoms.phantom((4, 6, 7))):
        stream = io.BytesIO()
        one = dicoms.ct(plane, (0.0, 0.0, 2.5 * number), number=number)
        one.save_as(stream, enforce_file_format=True)
        made[f"{number}.dcm"] = stream.getvalue()
    return made


def nifti() -> Files:
    import nibabel as nib

    voxels = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    first = nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 3.0, 1.0])).to_bytes()
    second = nib.Nifti2Image(voxels.astype(np.float64), np.eye(4)).to_bytes()
    scaled = nib.Nifti1Image(np.stack([voxels] * 2, -1), np.eye(4))
    scaled.header.set_slope_inter(0.5, -3)
    return {"a.nii": first, "b.nii": second, "c.nii": scaled.to_bytes(), "d.nii.gz": gzip.compress(first, mtime=0)}


def weights() -> Files:
    import torch
    from safetensors.torch import save

    state = {"conv.weight": torch.ones(4, 3, 3, 3), "conv.bias": torch.zeros(4), "n": torch.tensor(3)}
    made: Files = {"a.safetensors": save(state, {"preprocess": '{"size": 32, "mean": [0.5, 0.5, 0.5]}'})}
    for name, content, new in (
        ("b.pt", state, True),
        ("c.pth", {"state_dict": state, "epoch": 3}, True),
        ("d.pt", state, False),
    ):
        stream = io.BytesIO()
        torch.save(content, stream, _use_new_zipfile_serialization=new)
        made[name] = stream.getvalue()
        if new:
            with zipfile.ZipFile(stream) as archive:
                made[name.replace(".", "-") + ".pkl"] = archive.read("archive/data.pkl")
    return made


def explanation(folder: Path) -> Files:
    import torch

    from cfcam.explanation import Explanation

    maps = torch.linspace(-1, 1, 2 * 1 * 3 * 4).reshape(2, 1, 3, 4)
    Explanation(
        maps={"grad-cam": maps, "cam": -maps},
        targets=torch.tensor([[1], [0]]),
        scores=torch.ones(2, 1),
        logits=torch.ones(2, 2),
        probabilities=torch.full((2, 2), 0.5),
        layer="features",
        input_size=(12, 16),
        classes=("cat", "dog"),
        target_names=("predicted",),
        provenance={"cfcam": "1"},
    ).save(folder)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def store(folder: Path) -> Files:
    from tests.jobs.world import folder_of, run

    folder_of(folder / "in", 2)
    list(run(folder / "in", folder / "maps.zarr", store=True, batch_size=1))
    below = sorted(path for path in (folder / "maps.zarr").rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in below}


def audit(folder: Path) -> Files:
    from cfcam.clinical.audit.audit import Audit

    book = Audit(folder / "audit.sqlite")
    for _ in range(3):
        book.append("explain", {})
    book.export(folder / "export.jsonl")
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def tars() -> Files:
    """Tars of the three kinds, with long names, a link, and what is no picture."""
    found = {}
    for kind, form in {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}.items():
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
            for name, size in (("a.png", 700), ("a.cls", 1), (f"{'d' * 90}/{'ü' * 20}.png", 40), ("b.jpg", 512)):
                header = tarfile.TarInfo(name)
                header.size = size
                tar.addfile(header, io.BytesIO(b"x" * size))
            header = tarfile.TarInfo("link.png")
            header.type, header.linkname = tarfile.SYMTYPE, "a.png"
            tar.addfile(header)
        found[f"{kind}.tar"] = buffer.getvalue()
    return found


def texts() -> Files:
    from dataclasses import asdict

    from cfcam.clinical.checks.results import Limits

    record = {
        "input": "a.png", "sha256": "0" * 64, "status": "done", "error": None, "name": "a", "layer": "layer4",
        "targets": [], "files": {"a.png": "0" * 64}, "seconds": 0.5, "settings": "1" * 64, "cfcam": "1",
    }  # fmt: skip
    values = {
        "limits.json": asdict(Limits()),
        "classes.json": {"0": ["n1", "crane"], "1": ["n2", "tench"]},
        "list.json": ["cat", "dog"],
        "card.json": {"name": "net", "version": "1", "training": {"data": ["a", "b"], "epochs": 3}},
        "preprocess.json": {"size": [32, 32], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "run.json": {"format": 1, "manifest": "manifest.jsonl", "runs": {"1" * 64: {"settings": {}, "command": []}}},
    }
    lines = {
        "manifest.jsonl": json.dumps(record) + "\n" + json.dumps(record | {"name": "b", "files": {}}) + "\n",
        "classes.txt": "cat\ndog\nhorse\n",
        "table.csv": 'image,label,mask,boxes,patient\na.png,cat,,"[[1,2,3,4]]",p1\nb.png,dog,m.png,,p2\n',
        "boxes.csv": "image;x0;y0;x1;y1\na.png;1;2;3;4\nb.png;5;6;7;8.5\n",
        "pairs.csv": "prior,current,name\na.nii,b.nii,one\nc.png,d.png,\n",
        "predictions.csv": "cat,dog,label,patient\n0.5,-1.25,cat,p1\n1e3,2,1,p2\n",
        "zones.csv": "image,zone\na.png,left upper\nb.png,right\n",
        "card.yaml": "name: net\nversion: 1\ntraining:\n  data: [a, b]\n  text: |\n    long\nsame: &a {x: 1}\nas: *a\n",
        "gateway.toml": '[receive]\nae_title = "CFCAM"\nport = 11112\n[[rules]]\nmodality = ["CT", "MR"]\n',
        "key.txt": "00" * 32,
    }
    return {name: json.dumps(v).encode() for name, v in values.items()} | {n: t.encode() for n, t in lines.items()}


IN_A_FOLDER: dict[str, Callable[[Path], Files]] = {"explanation": explanation, "store": store, "audit": audit}
ALONE: dict[str, Callable[[], Files]] = {
    "pictures": pictures, "dicom": dicom, "series": series, "nifti": nifti, "weights": weights, "tars": tars,
    "texts": texts,
}  # fmt: skip


def made(kind: str, folder: Path) -> Files:
    """Returns the valid files of a kind; ``folder`` is empty, and theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    return ALONE[kind]() if kind in ALONE else IN_A_FOLDER[kind](folder)
