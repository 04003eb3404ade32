"""A page for the patient, in plain words; written only where somebody asks for it, given out only when released."""

from __future__ import annotations

from dataclasses import replace

from cfcam._version import __version__
from cfcam.clinical.report.page import backgrounds
from cfcam.clinical.report.patient_words import words_of
from cfcam.clinical.report.pictures import gradient
from cfcam.clinical.report.planes import is_volume, planes_of
from cfcam.clinical.report.sections import PictureRow, map_picture, readable
from cfcam.clinical.report.templating import templates, text_of
from cfcam.clinical.study_result import StudyResult
from cfcam.imaging.drawing.look import OPACITY, Look
from cfcam.imaging.drawing.palettes import EMBER


def render_patient(
    study: StudyResult,
    *,
    palette: str = EMBER,
    opacity: float = OPACITY,
    blend: str = "value",
    language: str = "en",
) -> str:
    """Returns the patient's page as HTML: one picture, what it means and what it does not.

    It shows the first map that can be read; without any it says that there is nothing to show. Nothing on it identifies
    the patient.

    Args:
        study: the study.
        palette: of the map.
        opacity: as for `cfcam.imaging.overlay`.
        blend: likewise.
        language: "en" or "de".

    Raises:
        InputError: the opacity, the palette, the blend or the language is none, or the map has a value outside of
            [0, 1].
    """
    t = words_of(language)
    look = Look(palette, opacity, blend)
    look.check()
    shown = next(iter(readable(study.maps)), None)
    row = PictureRow("", ())
    if shown is not None:
        plane = planes_of(study, [shown.heatmap])[0]
        # what is not explained on the page is not on the picture
        plain = replace(map_picture(study, shown, plane, look, ""), cross=None, bar=None, scale=None, alt=t.alt)
        row = PictureRow("", (plain,))
    return (
        templates()
        .get_template("patient.html.j2")
        .render(
            study=study,
            shown=shown,
            t=t,
            answer=t.out_of_100(None if shown is None else shown.probability),
            picture_shown=row.pictures[0] if row.pictures else None,
            volume=is_volume(study),
            percent=round(100 * opacity),
            backgrounds=backgrounds([row]),
            gradients={palette: (gradient(palette), gradient(palette, blend))},
            palette=palette,
            blend=blend,
            style=text_of("style.css"),
            version=__version__,
        )
    )
