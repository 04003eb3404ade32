"""The example pictures in `testimgs/`: `python -m cfcam.models.demo.examples FOLDER` writes them."""

import argparse
import logging
from pathlib import Path
from typing import Any, Final

from PIL import Image

from cfcam.models.demo.phantoms import make_phantom

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "normal": {"seed": 2},
    "nodule": {"seed": 7, "findings": ("nodule",)},
    "consolidation": {"seed": 5, "findings": ("consolidation",)},
    "effusion": {"seed": 14, "findings": ("effusion",)},
    "effusion-and-nodule": {"seed": 15, "findings": ("nodule", "effusion")},
    "pacemaker": {"seed": 10, "devices": ("pacemaker",)},
}
"""`make_phantom`'s arguments by picture name: `make_phantom(**EXAMPLES["nodule"]).masks` are its masks."""


def write_examples(folder: Path) -> list[Path]:
    """Write the examples as 8-bit grey PNG, 512 x 512, into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, arguments in EXAMPLES.items():
        path = folder / f"{name}.png"
        Image.fromarray(make_phantom(**arguments).image).save(path, optimize=True)
        paths.append(path)
    return paths


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m cfcam.models.demo.examples", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write the pictures")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for path in write_examples(parser.parse_args().folder):
        logging.getLogger(__name__).info("%s", path)


if __name__ == "__main__":
    main()
