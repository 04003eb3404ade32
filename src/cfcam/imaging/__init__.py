"""Pictures: reading, preparing for a network, colouring maps, laying them over, contact sheets."""

from cfcam.imaging.figure import Panel, colorbar, contact_sheet
from cfcam.imaging.overlay import banner, overlay, save_image
from cfcam.imaging.palettes import PALETTES, colorize, is_perceptually_ordered
from cfcam.imaging.preprocess import Preprocess
from cfcam.imaging.read import EXTENSIONS, Image, list_images, read_image

__all__ = [
    "EXTENSIONS",
    "PALETTES",
    "Image",
    "Panel",
    "Preprocess",
    "banner",
    "colorbar",
    "colorize",
    "contact_sheet",
    "is_perceptually_ordered",
    "list_images",
    "overlay",
    "read_image",
    "save_image",
]
