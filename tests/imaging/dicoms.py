"""DICOM files for tests: CT series at any angle, enhanced objects, radiographs; identities are planted in all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundImageStorage,
    generate_uid,
)

NAME, ID, BIRTH, PLACE, TEXT = "PLANTED^IDENTITY", "PLANTED-ID-4711", "19010203", "PLANTED HOSPITAL", "PLANTED TEXT"
PLANTED = (NAME, "IDENTITY", ID, BIRTH, PLACE, TEXT, "PLANTED")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))


def rotated(axes, degrees, about=(0.3, -0.5, 0.8)):
    """Both directions turned about an axis, so that the planes are oblique."""
    axis = np.array(about) / np.linalg.norm(about)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.radians(degrees)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return tuple(tuple(turn @ np.array(direction)) for direction in axes)


def base(sop_class, modality):
    """A dataset with every identity planted."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = NAME, ID, BIRTH
    ds.InstitutionName, ds.StudyDescription, ds.SeriesDescription = PLACE, TEXT, TEXT
    ds.StudyDate, ds.StudyInstanceUID, ds.FrameOfReferenceUID = BIRTH, "1.2.1", "1.2.2"
    ds.ImageComments, ds.Modality = TEXT, modality
    return ds


def with_pixels(ds, array, *, bits=16, signed=False):
    """Puts a stored array (H, W), (frames, H, W) or, in colour, (..., 3) into a dataset."""
    array = np.asarray(array)
    colour = array.shape[-1] == 3 and array.ndim > 2
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    spatial = array.shape[:-1] if colour else array.shape
    ds.Rows, ds.Columns = spatial[-2:]
    if len(spatial) == 3:
        ds.NumberOfFrames = spatial[0]
    ds.BitsAllocated = 8 if bits <= 8 else 16
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(signed)
    kind = {(8, False): np.uint8, (16, False): np.uint16, (16, True): np.int16}[ds.BitsAllocated, signed]
    ds.PixelData = array.astype(kind).tobytes()
    return ds


def save(ds, path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def positions(count, axes, origin=(-100.0, -80.0, 50.0), step=2.5):
    normal = np.cross(*axes)
    return [np.array(origin) + n * step * normal for n in range(count)]


def ct(stored, position, axes=AXIAL, spacing=(0.8, 0.7), *, series="1.2.3", number=3, slope=1, intercept=-1024):
    """One CT slice of stored values (H, W)."""
    ds = with_pixels(base(CTImageStorage, "CT"), stored)
    ds.SeriesInstanceUID, ds.SeriesNumber = series, number
    ds.ImagePositionPatient = [f"{v:.6f}"[:16] for v in position]
    ds.ImageOrientationPatient = [f"{v:.10f}"[:16] for direction in axes for v in direction]
    ds.PixelSpacing, ds.SliceThickness = list(spacing), 2.5
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    ds.WindowCenter, ds.WindowWidth = [40, -600], [400, 1500]
    return ds


def ct_series(folder, stored, axes=AXIAL, *, where=None, shuffled=True, **options):
    """Files of a series with stored values (slices, H, W), under names that say nothing of their order."""
    stored = np.asarray(stored)
    where = positions(len(stored), axes) if where is None else where
    order = np.random.default_rng(3).permutation(len(stored)) if shuffled else np.arange(len(stored))
    return [
        save(ct(stored[n], where[n], axes, **options), Path(folder) / f"IM{int(name):04d}.dcm")
        for name, n in enumerate(order)
    ]


def enhanced(stored, axes=AXIAL, *, where=None, slopes=None):
    """An enhanced multi-frame CT object; slope and intercept are given frame by frame."""
    stored = np.asarray(stored)
    where = positions(len(stored), axes) if where is None else where
    ds = with_pixels(base(EnhancedCTImageStorage, "CT"), stored)
    ds.SeriesInstanceUID, ds.SeriesNumber = "1.2.4", 1
    shared, orientation, measures, voi = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [f"{v:.10f}"[:16] for direction in axes for v in direction]
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.7], 2.5
    voi.WindowCenter, voi.WindowWidth = 40, 400
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.FrameVOILUTSequence = Sequence([voi])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for n, place in enumerate(where):
        frame, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [f"{v:.6f}"[:16] for v in place]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = (slopes or [1] * len(where))[n], -1024, "HU"
        frame.PlanePositionSequence = Sequence([position])
        frame.PixelValueTransformationSequence = Sequence([values])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return ds


def localizer(stored, first=AXIAL, second=CORONAL):
    """An enhanced object whose first half of the planes lies in one direction, the second in another."""
    half = len(stored) // 2
    ds = enhanced(stored, first, where=[*positions(half, first), *positions(len(stored) - half, second)])
    turned = ds.SharedFunctionalGroupsSequence[0]
    for number, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
        orientation = Dataset()
        orientation.ImageOrientationPatient = [v for axis in (first if number < half else second) for v in axis]
        frame.PlaneOrientationSequence = Sequence([orientation])
    del turned.PlaneOrientationSequence
    return ds


def radiograph(stored, *, bits=12, photometric="MONOCHROME2", spacing=(0.2, 0.1)):
    """A CR picture: no place in space, spacing at the detector."""
    ds = with_pixels(base(ComputedRadiographyImageStorage, "CR"), stored, bits=bits)
    ds.SeriesInstanceUID = "1.2.5"
    ds.PhotometricInterpretation = photometric
    if spacing:
        ds.ImagerPixelSpacing = list(spacing)
    return ds


def ultrasound(frames):
    """A loop in colour (frames, H, W, 3) with one calibrated region."""
    ds = with_pixels(base(UltrasoundImageStorage, "US"), frames, bits=8)
    ds.SeriesInstanceUID = "1.2.6"
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType = 1, 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    ds.SequenceOfUltrasoundRegions = Sequence([region])
    return ds


def phantom(shape=(6, 10, 12), seed=0):
    """Stored values (slices, H, W), different in every voxel, so that no axis can be taken for another."""
    return np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape).astype(np.int32) + 100
