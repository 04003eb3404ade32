"""The report as one HTML page that needs nothing else: no script, no request, pictures and styles within."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cfcam._version import __version__
from cfcam.clinical.report import words
from cfcam.clinical.report.pictures import Picture, gradient
from cfcam.clinical.report.planes import is_volume
from cfcam.clinical.report.sections import PictureRow, class_sections, uncertainty_section
from cfcam.clinical.report.summary import summary
from cfcam.clinical.report.tables import check_rows, class_bars, region_rows, settings
from cfcam.clinical.report.templating import templates, text_of
from cfcam.clinical.study_result import StudyResult
from cfcam.imaging.drawing.look import OPACITY, Look
from cfcam.imaging.drawing.palettes import EMBER
from cfcam.imaging.drawing.planes import CONVENTION, OBLIQUE_DEGREES, sheared_note
from cfcam.imaging.drawing.visibility import note
from cfcam.imaging.geometry import is_sheared, obliqueness, skewness
from cfcam.imaging.measured import measured_in

_CHOICES = (0, 30, 40, 50, 100)  # percent


def render(study: StudyResult, *, palette: str = EMBER, opacity: float = OPACITY, blend: str = "value") -> str:
    """Returns the report of a study as HTML.

    Args:
        study: the study.
        palette: of the maps, one of `cfcam.imaging.PALETTES` or any of matplotlib's.
        opacity: as for `cfcam.imaging.overlay`, at first and on paper.
        blend: likewise.

    Raises:
        InputError: the opacity, the palette or the blend is none, or a map has a value outside of [0, 1].
    """
    look = Look(palette, opacity, blend)
    look.check()
    classes = class_sections(study, look)
    varied = [uncertainty_section(study, one, look) for one in study.uncertainty]
    bars, left_out = class_bars(study)
    rows = [row for one in classes for row in one.rows] + [row for one in varied for row in one.rows]
    percent = round(100 * opacity)
    context: dict[str, Any] = {
        "study": study,
        "research": words.RESEARCH,
        "not_known": words.NOT_KNOWN,
        "volume": is_volume(study),
        "model": _model(study),
        "summary": summary(study),
        "bars": bars,
        "left_out": left_out,
        "classes": classes,
        "regions": region_rows(study),
        "checks": check_rows(study.checks),
        "uncertainty": varied,
        "settings": settings(study),
        "grid": _grid(study),
        "facts": _facts(study),
        "identity": _identity(study),
        "orientation": _orientation(study),
        "percent": percent,
        "choices": sorted({*_CHOICES, percent}),
        "blend": blend,
        "look": look.words(),
        "palette_note": note(look),
        "backgrounds": backgrounds(rows),
        "gradients": gradients(rows, blend),
        "style": text_of("style.css"),
        "version": __version__,
    }
    return templates().get_template("report.html.j2").render(context)


def backgrounds(rows: Iterable[PictureRow]) -> dict[str, str]:
    """Returns a short name for each picture under a map, so that it is in the page once."""
    bases = dict.fromkeys(one.base for one in _pictures(rows) if one.heat is not None or one.clear is not None)
    return {base: f"under-{n}" for n, base in enumerate(bases, 1)}


def gradients(rows: Iterable[PictureRow], blend: str) -> dict[str, tuple[str, str]]:
    """Returns the stops of the colour bar of each palette in use: of its colours, and as they lie over a picture."""
    palettes = dict.fromkeys(o.scale.palette for o in _pictures(rows) if o.scale)
    return {palette: (gradient(palette), gradient(palette, blend)) for palette in palettes}


def _pictures(rows: Iterable[PictureRow]) -> Iterable[Picture]:
    return (one for row in rows for one in row.pictures)


def _facts(study: StudyResult) -> list[tuple[str, str]]:
    """What the study is of and what explained it; what is not known has no line."""
    origin = study.origin
    date = "" if origin is None else f"{origin.date} ({origin.date_note})" if origin.date else origin.date_note
    modality = f"{study.modality}, " if study.modality else ""
    facts = [
        ("Patient (pseudonym)", study.pseudonym or ""),
        ("Study date", date),
        ("Body part", "" if origin is None else origin.part),
        ("View", "" if origin is None else origin.view),
        ("Network", _model(study)),
        ("Explained", ", ".join(dict.fromkeys(one.class_name for one in study.maps)) or "nothing"),
        ("Methods", ", ".join(dict.fromkeys(one.method for one in study.maps))),
        ("Layer", study.model.layer),
        ("Prepared", str(study.provenance.get("prepared") or "")),
        ("Volume" if is_volume(study) else "Picture", modality + _grid(study)),
    ]
    return [(name, value) for name, value in facts if value]


def _identity(study: StudyResult) -> list[tuple[str, str]]:
    """By what a report is matched with its study, its source and its network; what there is not has no line."""
    uids = {} if study.origin is None else study.origin.uids
    rows = [
        ("Audit record", study.record_id),
        ("Source, SHA-256", study.source_sha256),
        *((f"{name.capitalize()} UID, {_uid_kind(uid)}", uid) for name, uid in uids.items()),
        ("Weights, SHA-256", study.model.weights_sha256),
    ]
    return [(name, value) for name, value in rows if value]


def _uid_kind(uid: str) -> str:
    return "pseudonym" if uid.startswith("2.25.") else "first 16 digits of its SHA-256"


def _model(study: StudyResult) -> str:
    name, version = study.model.name, study.model.version
    return f"{name}, {version}" if version == "unversioned" else f"{name}, version {version}"


def _grid(study: StudyResult) -> str:
    shape: Sequence[int] = study.picture.shape[:3] if is_volume(study) else study.picture.shape[:2]
    size = " × ".join(map(str, shape)) + (" voxels" if is_volume(study) else " pixels")
    if study.spacing is None:
        return size
    mm = measured_in("mm", study.measured)
    return f"{size}, {' × '.join(f'{step:.3g}' for step in study.spacing)} {mm} apart"


def _orientation(study: StudyResult) -> str:
    """What is known of left and right, in a sentence."""
    what = "volume" if is_volume(study) else "picture"
    letters = "R right, L left, A anterior, P posterior, S superior, I inferior"
    if study.affine is None and study.edges is not None:
        askew = (
            " Its edges lie askew: letters name the nearest direction." if study.origin and study.origin.oblique else ""
        )
        return f"Shown as it is stored; the letters at its edges are what its header says. {letters}.{askew}"
    if study.affine is None:
        return (
            f"Left and right of the patient are {words.NOT_KNOWN}, nor is any other direction: the {what} is shown as"
            " it is stored."
        )
    skew = sheared_note(skewness(study.affine))
    sheared = f" {skew[0].upper()}{skew[1:]}." if is_volume(study) and is_sheared(study.affine) else ""
    angle = obliqueness(study.affine)
    oblique = f" It lies askew by up to {angle:.0f}°: letters name the nearest direction."
    convention = f"{CONVENTION[0].upper()}{CONVENTION[1:]}." if is_volume(study) else "Shown as it is stored."
    return f"{convention} {letters}.{oblique if angle > OBLIQUE_DEGREES else ''}{sheared}"
