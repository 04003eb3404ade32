"""What was not done or is not known of a study, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from cfcam.clinical.study_result import MapResult
from cfcam.exchange.dicom.origin import placed
from cfcam.imaging import Image, Preprocess, Volume, VolumePreprocess
from cfcam.jobs.inputs.burned_in import warning_of
from cfcam.maps import Status

NO_FILE = "What its file says of the study is not known: it was given without one."
NO_CHECKS = "No checks of the map were made: no masks were given."


def limits_of(
    image: Image | Volume,
    preprocess: Preprocess | VolumePreprocess | None,
    maps: Sequence[MapResult],
    *,
    modality: str,
    burned_in: str,
    in_windows: bool,
    uncertainty: bool,
) -> list[str]:
    """Returns what a reader of a study should know that is missing in it.

    Args:
        image: as it was read.
        preprocess: the way from it to the network; None: not known here.
        maps: of the study.
        modality: as its DICOM header states it, "" if it has none.
        burned_in: what that says of names in the pixels: "YES", "NO" or "".
        in_windows: whether it was explained window by window.
        uncertainty: whether it is measured how much the map varies.
    """
    volume = image if isinstance(image, Volume) else None
    assumed = () if preprocess is None else preprocess.assumptions
    said = [sentence(notice) for notice in (*assumed, *image.notices)]
    if (warning := warning_of(modality, burned_in)) is not None:
        said.append(warning)
    if image.spacing is None:
        said.append("The size of a pixel in mm is not known: sizes are counted in pixels.")
    elif image.measured is not None and image.measured.sentence:
        said.append(image.measured.sentence)
    if placed(image) is None:
        said.append("The place in the patient is not known: positions are counted from the first pixel.")
    said += [sentence(line) for line in (volume.assumed if volume is not None else ())]
    said += [f"{line}." for line in dict.fromkeys(m.regions.left_out_line() for m in maps if m.regions.left_out)]
    if volume is not None and volume.channels > 1:
        said.append(f"Of {volume.channels} channels the first is shown.")
    if in_windows:
        said.append("The volume was explained in windows: the model saw no more than one of them at a time.")
    if maps and maps[0].probability is None and maps[0].margin is None:
        said.append("The model gives no probabilities.")
    empty = [f"{one.method} for {one.class_name} ({one.status})" for one in maps if one.status != Status.OK]
    if empty:
        said.append(f"Without a map: {', '.join(empty)}.")
    if not uncertainty:
        said.append("How much the map varies was not measured.")
    return said


def sentence(notice: str) -> str:
    """Returns a notice as a sentence."""
    return f"{notice[:1].upper()}{notice[1:]}."
