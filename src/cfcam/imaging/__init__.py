"""Pictures and volumes: reading, preparing for a network, colouring maps, laying them over, sheets, NIfTI."""

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.imaging.drawing.overlay import banner, overlay
    from cfcam.imaging.drawing.palettes import PALETTES, colorize, is_perceptually_ordered
    from cfcam.imaging.drawing.png import save_image
    from cfcam.imaging.drawing.sheet import Panel, colorbar, contact_sheet
    from cfcam.imaging.drawing.volume_sheet import montage_figure, projection_figure, slices_figure, volume_sheet
    from cfcam.imaging.image import Image
    from cfcam.imaging.nnunet_preprocess import NnunetPreprocess
    from cfcam.imaging.preprocess import Preprocess
    from cfcam.imaging.reading.channels import read_channels
    from cfcam.imaging.reading.dicom import read_dicom
    from cfcam.imaging.reading.listing import EXTENSIONS, list_images
    from cfcam.imaging.reading.pictures import read_image
    from cfcam.imaging.reading.volumes import read_volume
    from cfcam.imaging.save_nifti import save_map_nifti
    from cfcam.imaging.slic import superpixels
    from cfcam.imaging.volume import Volume
    from cfcam.imaging.volume_preprocess import VolumePreprocess
    from cfcam.imaging.windows import WINDOWS

__all__ = [
    "EXTENSIONS",
    "PALETTES",
    "WINDOWS",
    "Image",
    "NnunetPreprocess",
    "Panel",
    "Preprocess",
    "Volume",
    "VolumePreprocess",
    "banner",
    "colorbar",
    "colorize",
    "contact_sheet",
    "is_perceptually_ordered",
    "list_images",
    "montage_figure",
    "overlay",
    "projection_figure",
    "read_channels",
    "read_dicom",
    "read_image",
    "read_volume",
    "save_image",
    "save_map_nifti",
    "slices_figure",
    "superpixels",
    "volume_sheet",
]

# What reads pictures needs no torch, and a viewer shows them before it has any.
__getattr__ = lazy(
    __name__,
    {
        "cfcam.imaging.drawing.overlay": "banner overlay",
        "cfcam.imaging.drawing.palettes": "PALETTES colorize is_perceptually_ordered",
        "cfcam.imaging.drawing.png": "save_image",
        "cfcam.imaging.drawing.sheet": "Panel colorbar contact_sheet",
        "cfcam.imaging.drawing.volume_sheet": "montage_figure projection_figure slices_figure volume_sheet",
        "cfcam.imaging.image": "Image",
        "cfcam.imaging.preprocess": "Preprocess",
        "cfcam.imaging.nnunet_preprocess": "NnunetPreprocess",
        "cfcam.imaging.reading.channels": "read_channels",
        "cfcam.imaging.reading.dicom": "read_dicom",
        "cfcam.imaging.reading.listing": "EXTENSIONS list_images",
        "cfcam.imaging.reading.pictures": "read_image",
        "cfcam.imaging.reading.volumes": "read_volume",
        "cfcam.imaging.save_nifti": "save_map_nifti",
        "cfcam.imaging.slic": "superpixels",
        "cfcam.imaging.volume": "Volume",
        "cfcam.imaging.volume_preprocess": "VolumePreprocess",
        "cfcam.imaging.windows": "WINDOWS",
    },
)
