"""Makes the tables of docs/real-files.md: how real DICOM files are read here, by SimpleITK and by dcmtk.

``python docs/real_files.py`` prints them, ``python docs/real_files.py --write`` puts them into the page. The files come
with the packages pydicom, pydicom-data and nibabel; nothing is downloaded. Test: tests/imaging/reading/test_real_files.
"""

from __future__ import annotations

import gzip
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 (its usual name)
from numpy.typing import NDArray
from PIL import Image as PILImage

from cfcam.errors import CfcamError
from cfcam.imaging import Image, read_volume
from cfcam.imaging.reading.dicom import read_dicom

PAGE = Path(__file__).with_name("real-files.md")
FOLDERS = (
    ("pydicom", "pydicom", "data/test_files"),
    ("pydicom-data", "data_store", "data"),
    ("nibabel", "nibabel", "nicom/tests/data"),
)
"""Package, module, folder in it."""

_LOSSY = ("JPEG Baseline", "JPEG Extended", "JPEG-LS Lossy")
_JPEG = ("JPEG Baseline", "JPEG Extended", "JPEG Lossless")
_SHADES = 6  # of 255 that decoders of lossy JPEG differ by where they resample colours

# What no rule below explains: why, and who is right.
_DIFFERS = {
    "rtdose_expb.dcm": "dcmtk and SimpleITK swap bytes in words of 16 bits; in words of 32, as here, the dose is that"
    " of rtdose.dcm",
    "rtdose_expb_1frame.dcm": "dcmtk swaps bytes in words of 16 bits; in words of 32, as here, the dose is that of"
    " rtdose_1frame.dcm",
    "eCT_Supplemental.dcm": "its values from 1024 on are colours (PS3.3 C.7.6.19): shown so here, grey by both others",
    "mlut_18.dcm": "SimpleITK leaves out the modality LUT (PS3.3 C.11.1); dcmtk applies it as here",
    "SC_rgb_rle_16bit.dcm": "SimpleITK reads other values; here and by dcmtk they are those of SC_rgb_16bit.dcm",
    "SC_rgb_rle_16bit_2frame.dcm": "SimpleITK reads other values; here and by dcmtk they are those of SC_rgb_16bit.dcm",
    "SC_rgb_rle_32bit.dcm": "SimpleITK reads other values; here and by dcmtk they are those of SC_rgb_32bit.dcm",
    "SC_rgb_rle_32bit_2frame.dcm": "SimpleITK reads other values; here and by dcmtk they are those of SC_rgb_32bit.dcm",
}


_REFUSED = {
    "JPEG-lossy.dcm": "its scan header is not one of sequential JPEG (ISO/IEC 10918-1, B.2.3), which dcmtk overlooks",
    "badVR.dcm": "its number of frames is 1A, which SimpleITK and dcmtk take for 1",
}


@dataclass(frozen=True)
class Finding:
    """How one file fares.

    Attributes:
        package: that brings it.
        name: of the file.
        kind: photometric interpretation and transfer syntax.
        verdict: "read", "refused", "differs", or "no picture".
        why: why it is refused, or what differs and who is right; of what is read, whom it was compared with.
    """

    package: str
    name: str
    kind: str
    verdict: str
    why: str


def corpus() -> Iterator[tuple[str, Path]]:
    """Yields package and path of every file that may be DICOM."""
    for package, module, folder in FOLDERS:
        spec = find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            continue
        root = Path(spec.submodule_search_locations[0]) / folder
        for path in sorted(root.rglob("*")):
            known = path.name.endswith((".dcm", ".dcm.gz")) or (path.suffix == "" and "dicomdirtests" in path.parts)
            if path.is_file() and known and path.name not in ("DICOMDIR", "README"):
                yield package, path


def findings() -> list[Finding]:
    """Judges every file."""
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory() as folder:
        return [*(judged(package, path, Path(folder)) for package, path in corpus()), *volumes()]


def judged(package: str, path: Path, folder: Path) -> Finding:
    """Reads a file here and elsewhere, and says what came of it."""
    name = path.name
    if path.suffix == ".gz":
        unpacked = folder / path.stem
        unpacked.write_bytes(gzip.decompress(path.read_bytes()))
        path = unpacked
    try:
        image = read_dicom(path)
    except CfcamError as error:
        text = str(error).removeprefix(f"{path}: ")
        if text.startswith("is a DICOM file without pixels"):
            return Finding(package, name, "", "no picture", "")
        others = [
            who for who, reads in (("SimpleITK", _read_by_sitk), ("dcmtk", _read_by_dcmtk)) if reads(path, folder)
        ]
        also = f"{' and '.join(others)} read{'s' * (len(others) == 1)} it" if others else "the others too"
        return Finding(package, name, _kind(path), "refused", f"{text.split(';')[0]}; {_REFUSED.get(name, also)}")
    header = pydicom.dcmread(path, force=True)
    _complete(header)
    against, apart = [], []
    for who, compare in (("SimpleITK", _against_sitk), ("dcmtk", _against_dcmtk)):
        said = compare(path, header, image, folder)
        if said is not None:
            against.append(who)
            apart += [f"{who}: {said}"] * bool(said)
    if apart:
        return Finding(package, name, _kind(path), "differs", _DIFFERS.get(name, "; ".join(apart)))
    compared = f"as {' and '.join(against)}" if against else "no other reader here decodes it"
    return Finding(
        package, name, _kind(path), "read", compared + "".join(f"; {line}" for line in _remarks(header, image))
    )


def _read_by_sitk(path: Path, folder: Path) -> bool:
    try:
        sitk.ReadImage(str(path))
    except RuntimeError:
        return False
    return True


def _read_by_dcmtk(path: Path, folder: Path) -> bool:
    header = pydicom.dcmread(path, force=True)
    return _drawn(path, header, ["+Wm"], folder) is not None


def _against_sitk(path: Path, header: Any, image: Image, folder: Path) -> str | None:
    """What differs in values and place; "" if nothing does, None if SimpleITK does not read the file."""
    try:
        theirs = sitk.ReadImage(str(path))
    except RuntimeError:
        return None
    values = sitk.GetArrayFromImage(theirs).astype(np.float64)
    several = theirs.GetNumberOfComponentsPerPixel()
    values = values.reshape((-1, *image.size, *([several] if several > 1 else [])))
    if (several > 1) != (image.pixels.ndim == 3):
        return "grey instead of colours, or colours instead of grey"
    for frame in sorted({0, len(values) - 1}):
        off = (_colours_off if several > 1 else _greys_off)(path, header, frame, values[frame])
        if off:
            return off
    return _place_off(theirs, image)


def _colours_off(path: Path, header: Any, frame: int, theirs: NDArray[np.float64]) -> str:
    pixels = read_dicom(path, frame=frame).pixels
    bits = int(header.BitsAllocated)
    if header.PhotometricInterpretation == "PALETTE COLOR":
        bits = 16 if theirs.max() > 255 else 8  # SimpleITK cuts palettes of 16 bits to 8
    off = np.abs(pixels / np.iinfo(pixels.dtype).max - theirs / (2.0**bits - 1)).max() * 255
    allowed = _SHADES if _is(header, _LOSSY) else 1
    return "" if off <= allowed else f"colours differ by up to {off:.0f} of 255"


def _greys_off(path: Path, header: Any, frame: int, theirs: NDArray[np.float64]) -> str:
    """Compares values in units: the picture is read with the window of all of them, and its shades are taken back."""
    slope, intercept = (float(header.get(key, usual)) for key, usual in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    if header.PhotometricInterpretation == "MONOCHROME1":  # SimpleITK turns the stored values over
        theirs = slope * (2.0**header.BitsStored - 1) + 2 * intercept - theirs
    if header.BitsAllocated == 1:  # SimpleITK gives 0 and 255
        theirs = theirs / 255
    theirs = theirs * float(header.get("DoseGridScaling", 1))
    low, high = float(theirs.min()), float(theirs.max())
    span = (high - low) or 1.0
    shades = read_dicom(path, frame=frame, window=(low + span / 2 + 0.5, span + 1)).pixels / 65535
    if span < 4:  # fractions: a window of whole numbers has other ends
        shades = read_dicom(path, frame=frame, window=(low + span * 2 + 0.5, span * 4 + 1)).pixels / 65535 * 4
    if header.PhotometricInterpretation == "MONOCHROME1":
        shades = 1 - shades
    off = np.abs(shades * span + low - theirs)
    if "PixelPaddingValue" in header:
        off[theirs == slope * float(header.PixelPaddingValue) + intercept] = 0  # black here
    most = float(off.max())
    return "" if most <= max(span * 4 / 65535, 2 if _is(header, _LOSSY) else 0) else f"values differ by up to {most:g}"


def _place_off(theirs: sitk.Image, image: Image) -> str:
    if image.affine is None or theirs.GetDimension() != 3:
        return ""
    placed = np.diag([-1, -1, 1, 1]) @ np.array(image.affine)
    directions, spacing = np.array(theirs.GetDirection()).reshape(3, 3), theirs.GetSpacing()
    wanted = np.stack([directions[:, 1] * spacing[1], directions[:, 0] * spacing[0], theirs.GetOrigin()], axis=1)
    off = float(np.abs(placed[:3][:, [0, 1, 3]] - wanted).max())
    return "" if off < 1e-4 else f"places differ by up to {off:.3g} mm"


def _against_dcmtk(path: Path, header: Any, image: Image, folder: Path) -> str | None:
    """What differs in shades, by the file's own window or table; "" if nothing does, None if dcmtk does not draw it."""
    how = ["+Wm"]
    if image.pixels.ndim == 3:
        how = []
    elif header.get("VOILUTSequence"):
        how = ["+Wl", "1"]
    elif header.get("WindowCenter") not in (None, "") and not any("nothing to see" in line for line in image.notices):
        how = ["+Wi", "1"]
    theirs = _drawn(path, header, how, folder)
    if theirs is None:
        return None
    if theirs.shape != image.pixels.shape:
        return "grey instead of colours, or colours instead of grey"
    off = np.abs(image.pixels / np.iinfo(image.pixels.dtype).max * 255 - theirs)
    off[_padding(header, off.shape)] = 0
    # theirs are whole and cut off where ours are rounded; their red, green and blue of YBR too
    allowed = (
        _SHADES if _is(header, _LOSSY) else 2.5 if str(header.PhotometricInterpretation).startswith("YBR") else 1.5
    )
    return "" if off.max() <= allowed else f"shades differ by up to {off.max():.0f} of 255"


def _drawn(path: Path, header: Any, how: list[str], folder: Path) -> NDArray[np.float64] | None:
    """The picture as dcmtk draws it, of 8 bits; None if it does not."""
    drawn = folder / "drawn.pnm"
    drawn.unlink(missing_ok=True)
    call = ["dcmj2pnm" if _is(header, _JPEG) else "dcm2pnm", "-q", "-O", "+op", *how, str(path), str(drawn)]
    done = subprocess.run(call, capture_output=True, timeout=60, check=False)  # noqa: S603 (a fixed program)
    if done.returncode or not drawn.exists():
        return None
    with PILImage.open(drawn) as picture:
        return np.asarray(picture).astype(np.float64)


def _padding(header: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if "PixelPaddingValue" not in header:
        return np.zeros(shape, dtype=bool)
    stored = header.pixel_array
    return (stored if stored.shape == shape else stored[0]) == header.PixelPaddingValue


def _remarks(header: Any, image: Image) -> list[str]:
    said = []
    if "DoseGridScaling" in header:
        said.append("in Gy: SimpleITK leaves DoseGridScaling to its user")
    if header.PhotometricInterpretation == "MONOCHROME1":
        said.append("SimpleITK turns the stored values over, here the shown ones are")
    if header.BitsAllocated == 1:
        said.append("SimpleITK gives 255 for 1")
    return [*said, *image.notices]


def _complete(header: Any) -> None:
    if "TransferSyntaxUID" not in header.file_meta:
        header.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian


def _kind(path: Path) -> str:
    header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    _complete(header)
    syntax = header.file_meta.TransferSyntaxUID.name.split(" (")[0].replace(" Image Compression", "")
    colours = str(header.get("PhotometricInterpretation", "")).replace("MONOCHROME", "grey ")
    return f"{colours}, {header.get('BitsStored', '?')} bits, {syntax}"


def _is(header: Any, names: tuple[str, ...]) -> bool:
    return str(header.file_meta.TransferSyntaxUID.name).startswith(names)


def volumes() -> list[Finding]:
    """Judges the NIfTI files of nibabel: values of all voxels, and the places of four corners."""
    warnings.simplefilter("ignore")
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    spec = find_spec("nibabel")
    if spec is None or not spec.submodule_search_locations:
        return []
    root = Path(spec.submodule_search_locations[0]) / "tests" / "data"
    return [
        _judged_volume(path)
        for path in sorted([*root.glob("*.nii"), *root.glob("*.nii.gz")])
        if ".dconn" not in path.name
    ]


def _judged_volume(path: Path) -> Finding:
    try:
        theirs = sitk.ReadImage(str(path))
    except RuntimeError:
        read_volume(path, time=0)
        return Finding("nibabel", path.name, "NIfTI", "read", "no other reader here decodes it")
    values = sitk.GetArrayFromImage(theirs).astype(np.float64)
    kind = f"NIfTI, {' x '.join(map(str, theirs.GetSize()))}"
    try:
        volume = read_volume(path, time=0 if values.ndim > 3 else None)
    except CfcamError as error:
        return Finding("nibabel", path.name, kind, "refused", str(error).removeprefix(f"{path}: ").split(";")[0])
    first = values[0] if values.ndim > 3 else values
    held = np.asanyarray(nib.load(path).dataobj)
    numbers = np.isfinite(held[..., 0] if held.ndim > 3 else held)
    off = float(np.abs(volume.voxels - first.T)[numbers].max())
    if off > 1e-6 * float(np.abs(first).max()):
        return Finding("nibabel", path.name, kind, "differs", f"values differ by up to {off:g}")
    told = "" if numbers.all() else f"; {(~numbers).sum()} voxels that are no numbers were left out (SimpleITK: 0)"
    corners = [(0, 0, 0), (volume.size[0] - 1, 0, 0), (0, volume.size[1] - 1, 0), (0, 0, volume.size[2] - 1)]
    tail = (0,) * (values.ndim - 3)
    apart = max(
        float(
            np.abs(
                np.array(volume.place(at)) * (-1, -1, 1) - theirs.TransformIndexToPhysicalPoint((*at, *tail))[:3]
            ).max()
        )
        for at in corners
    )
    if apart > 1e-2:
        return Finding(
            "nibabel", path.name, kind, "differs", _DIFFERS.get(path.name, f"places differ by {apart:.3g} mm")
        )
    return Finding("nibabel", path.name, kind, "read", f"as SimpleITK{told}")


def tables(found: list[Finding]) -> str:
    """Returns what stands in the page: files that fare alike share a line."""
    lines = []
    for title, verdict in (("Refused", "refused"), ("Differs", "differs"), ("Read", "read")):
        groups: dict[tuple[str, str, str], list[str]] = {}
        for one in found:
            if one.verdict == verdict:
                groups.setdefault((one.package, one.kind, one.why), []).append(f"`{one.name}`")
        count = sum(map(len, groups.values()))
        last = {"read": "compared with", "refused": "why", "differs": "what, and who is right"}[verdict]
        lines += [f"## {title}: {count}", "", f"| package | files | kind | {last} |", "|---|---|---|---|"]
        lines += [
            f"| {package} | {', '.join(names)} | {kind} | {why} |" for (package, kind, why), names in groups.items()
        ]
        lines.append("")
    others = sum(one.verdict == "no picture" for one in found)
    lines.append(
        f"{others} more files hold no picture (plans, reports, waveforms, headers alone): a line says so for each."
    )
    return "\n".join(lines)


BEGIN = "<!-- tables of real_files.py -->\n"


if __name__ == "__main__":
    made = tables(findings())
    if "--write" in sys.argv:
        page = PAGE.read_text()
        PAGE.write_text(page[: page.index(BEGIN)] + BEGIN + made + "\n")
    else:
        print(made)
