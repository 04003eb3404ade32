"""A viewer of a radiograph, a CT and a picture, each with maps of which everything is known."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as PILImage

from cfcam.clinical.study_result import ModelIdentity
from cfcam.web.library.about import About
from cfcam.web.library.maps import StudyMap
from tests.exchange import sources as made
from tests.web.server import client_of, settings_of

MODEL = ModelIdentity("net", "1.2", "ab" * 32, "layer4", ("normal", "nodule"))
NAME, PATIENT = "Zyxwv^Planted", "PLANTED-4711"


@dataclass(frozen=True)
class Opened:
    """A client, and the ids of the studies by their kind."""

    client: Any
    ids: dict[str, str]

    def map(self, kind: str, number: int = 0) -> str:
        """The id of a map."""
        return f"m-{list(self.ids).index(kind)}{number:011x}"

    def answer(self, kind: str = "CR", verdict: str = "accept", number: int = 0, **more: Any) -> Any:
        """Answers a map."""
        body = {"study": self.ids[kind], "map": self.map(kind, number), "verdict": verdict, "reviewer": "Ána Müller"}
        return self.client.post("/api/reviews", json=body | more)

    def export(self, kind: str, form: str, numbers: tuple[int, ...] = (0,), **more: Any) -> Any:
        """Asks for a file."""
        maps = [self.map(kind, number) for number in numbers]
        return self.client.post("/api/exports", json={"study": self.ids[kind], "maps": maps, "format": form} | more)


def heat_of(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A block that is hot and a gradient that is not, each map in another place."""
    values = np.random.default_rng(seed).random(shape).astype(np.float32) * np.float32(0.2)
    values[..., 4 + seed : 9 + seed, 5:10] = 0.8
    values[(shape[0] // 2,) * (len(shape) - 2) + (6 + seed, 7)] = 1.0
    return values


def write_studies(folder):
    """A radiograph, a CT of four slices, and a PNG."""
    for name, kind in (("rx", "CR"), ("ct", "CT")):
        (folder / name).mkdir(parents=True)
        for number, source in enumerate(made.sources(kind)):
            source.PatientName, source.PatientID, source.PatientBirthDate = NAME, PATIENT, "19430217"
            source.save_as(folder / name / f"{NAME}{number}.dcm", enforce_file_format=True)
    grey = np.random.default_rng(3).integers(0, 255, (24, 20), np.uint8)
    PILImage.fromarray(grey).save(folder / "scan.png")
    return [folder / "rx" / f"{NAME}0.dcm", folder / "ct", folder / "scan.png"]


@contextmanager
def opened(folder, **settings):
    """A viewer of these studies, with two methods for one class and one for another."""
    paths = write_studies(folder) if not (folder / "scan.png").exists() else [
        folder / "rx" / f"{NAME}0.dcm", folder / "ct", folder / "scan.png"
    ]  # fmt: skip
    with client_of(settings_of(*paths, **settings)) as client:
        library = client.app.state.library
        studies = library.studies()
        kinds = {"volume": "CT", "picture": "PNG"}
        ids = {}
        for study in studies:
            kind = "CR" if study.kind == "picture" and study.name != "scan.png" else kinds[study.kind]
            ids[kind] = study.id
        found = Opened(client, {kind: ids[kind] for kind in ("CR", "CT", "PNG")})
        for kind, study_id in found.ids.items():
            study = library.find(study_id)
            for number, (method, index) in enumerate((("grad-cam", 1), ("eigen-cam", 1), ("grad-cam", 0))):
                heat = heat_of(study.facts().shape, number)
                about = About(MODEL, {"method": method}, {"settings": {"size": 24}})
                study.add(
                    StudyMap(
                        found.map(kind, number), method, index, MODEL.classes[index], lambda heat=heat: heat,
                        probability=(0.25, 0.75)[index], layer="layer4", scale_max=1.0 + number, source="live",
                        about=about,
                    )
                )  # fmt: skip
        yield found
