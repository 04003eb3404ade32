"""Comparing pairs of studies: read, registered, explained by one network, compared, drawn; and many pairs, resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam import json_text
from cfcam._version import __version__
from cfcam.clinical.checks.masks import read_mask
from cfcam.clinical.comparison.changes import compare
from cfcam.clinical.comparison.gate import RegistrationError
from cfcam.clinical.comparison.result import RESEARCH, SENTENCE, Comparison
from cfcam.errors import CfcamError, InputError, describe_first, one_line
from cfcam.explainer import Explainer
from cfcam.files import own_output, settings_hash, sha256_of, stays_inside, write_json, write_whole
from cfcam.imaging import Image, Preprocess, Volume, VolumePreprocess, read_image, save_image, save_map_nifti
from cfcam.imaging.drawing.difference import comparison_figure, picture_scene, volume_scenes
from cfcam.imaging.drawing.sides import letters_of, scale_of
from cfcam.jobs.compare.images import CompareImages, matched, registered
from cfcam.jobs.compare.pairs import Pair, PairResult, PairState, without_names
from cfcam.jobs.compare.settings import CompareSettings
from cfcam.jobs.compare.studies import Study, check_patients, digest_of, placed_study
from cfcam.jobs.compare.tables import TABLE_NAME, as_csv, earlier_rows, registration_line, row_of, table_of, title_of
from cfcam.jobs.inputs.find import Kind, find_inputs
from cfcam.jobs.inputs.preparing import assumption_notes, prepared_for, prepared_volumes_for, refuse_windows
from cfcam.jobs.inputs.reading import read_volume_of
from cfcam.models import LoadedModel, model_name
from cfcam.models.expects import takes_volumes


class ComparePairs:
    """Compares pairs with one network; see `CompareSettings`.

    Args:
        model: the network.
        settings: how.

    Raises:
        CfcamError: the settings do not fit the network.
    """

    def __init__(self, model: LoadedModel, settings: CompareSettings) -> None:
        self._model, self.settings = model, settings
        refuse_windows(model)
        self.volumetric = bool(takes_volumes(model.module))
        prepared = prepared_volumes_for if self.volumetric else prepared_for
        self.preprocess: Preprocess | VolumePreprocess = prepared(model, settings.preprocess)
        if not 0 < settings.threshold <= 1:
            raise InputError(f"threshold {settings.threshold!r}: give a number in (0, 1]")
        self._explainer = Explainer(
            model.module,
            [settings.method],
            layer=settings.layer,
            classes=model.classes,
            probability=model.probability,
            output=model.output,
            fingerprint=True,
        )
        self._images = CompareImages(
            self._explainer,
            self.preprocess,
            model_name(model.spec),
            model.classes or (),
            settings.method,
            settings.retests,
            settings.seed,
        )

    def run(self, pairs: Sequence[Pair], on_result: Callable[[PairResult], None] | None = None) -> list[PairResult]:
        """Compares pairs one after the other; a pair that cannot be compared is reported and the rest is done.

        A pair whose files are there, made from the same images with the same settings, is left as it is. After every
        pair ``comparisons.csv`` holds a line for each one so far, and for those of earlier runs into this folder.

        Args:
            pairs: which; names must differ.
            on_result: called after each.

        Raises:
            JobError: the output folder cannot be written, or another run is at work there.
        """
        with own_output(self.settings.output):
            return self._all(pairs, on_result or (lambda _: None))

    def _all(self, pairs: Sequence[Pair], on_result: Callable[[PairResult], None]) -> list[PairResult]:
        table = self.settings.output / TABLE_NAME
        rows, results = earlier_rows(table), []
        for pair in pairs:
            results.append(self._one(pair))
            rows[pair.name] = row_of(results[-1])
            write_whole(table, as_csv(list(rows.values())))
            on_result(results[-1])
        return results

    def _one(self, pair: Pair) -> PairResult:
        document: dict[str, Any] = {"name": pair.name, "prior": pair.shown[0], "current": pair.shown[1]}
        try:
            key = self._key(pair)
            kept = self._kept(pair.name, key)
            if kept is not None:
                return PairResult(pair, PairState.RESUMED, kept)
            comparison, prior = self._compared(pair.prior, pair.current)
        except (CfcamError, OSError, RuntimeError, MemoryError) as error:
            reason = without_names(_reason(error), pair)
            found = error.registration if isinstance(error, RegistrationError) else None
            document |= {
                "state": PairState.NOT_COMPARED.value,
                "reason": reason,
                "registration": None if found is None else found.as_dict(),
                "statement": SENTENCE,
                "use": RESEARCH,
            }
            write_json(self.settings.output / f"{pair.name}.json", document)
            return PairResult(pair, PairState.NOT_COMPARED, document, reason=reason)
        files = self._drawn(pair, comparison, prior)
        document |= {
            "state": PairState.COMPARED.value,
            **comparison.as_dict(),
            "row": comparison.as_row(),
            "prepared": self.preprocess.told,
            "preprocess": self.preprocess.as_dict(),
            "settings": key,
            "files": {file.name: sha256_of(file) for file in files},
        }
        write_json(self.settings.output / f"{pair.name}.json", document)
        return PairResult(pair, PairState.COMPARED, document, comparison)

    def compare(self, prior: Path, current: Path) -> Comparison:
        """Reads, registers, explains and compares two studies, and writes nothing.

        Raises:
            ComparisonError: they are of two patients, or cannot be compared.
            RegistrationError: the registration is not good enough.
            CfcamError: a study cannot be read or explained.
        """
        return self._compared(prior, current)[0]

    def _compared(self, prior: Path, current: Path) -> tuple[Comparison, Study]:
        notes = [*assumption_notes(self.preprocess), *check_patients(prior, current)]
        studies, more = matched(*(self._read(path) for path in (prior, current)))
        notes += more
        found = registered(studies, self.settings.registration, self.settings.gate)
        maps = self._images.maps(studies, found, self._class(studies))
        masks = {name: self._mask(path, studies[0].image, notes) for name, path in self.settings.masks.items()}
        comparison = compare(
            *maps, registration=found, gate=self.settings.gate, threshold=self.settings.threshold, masks=masks
        )
        return replace(comparison, notes=(*notes, *comparison.notes)), studies[0]

    def _read(self, path: Path) -> Study:
        inputs = find_inputs([path], output=self.settings.output)
        if len(inputs) != 1:
            raise InputError(f"{path.name}: holds {len(inputs)} pictures or volumes; name one of them")
        source = inputs[0]
        if (source.kind is Kind.VOLUME) != self.volumetric:
            wanted = "volumes (NIfTI or a DICOM series)" if self.volumetric else "2-D pictures"
            raise InputError(f"{path.name}: is a {source.kind}, and the network takes {wanted}")
        if self.volumetric:
            return placed_study(read_volume_of(source.path, self.settings.volumes))
        return placed_study(read_image(source.path, window=self.settings.window))

    def _class(self, studies: Sequence[Study]) -> int:
        """The class that is explained in both: the one named, else what the network says of the current study."""
        x = self._images.prepared(studies[1].image)
        target = self.settings.target
        return int(self._explainer(x, None if target == "predicted" else [target]).targets[0, 0])

    def _mask(self, path: Path, image: Image | Volume, notes: list[str]) -> NDArray[np.bool_]:
        mask, said = read_mask(path, image)
        notes += said
        found: NDArray[np.bool_] = mask.numpy()
        return found

    def _key(self, pair: Pair) -> str:
        """What the files of a pair depend on."""
        how = {name: value for name, value in vars(self.settings).items() if name not in ("output", "masks")}
        how |= {
            "gate": asdict(self.settings.gate),
            "preprocess": [type(self.preprocess).__name__, self.preprocess.as_dict()],
            "volumes": asdict(self.settings.volumes),
            "masks": {name: digest_of(path) for name, path in self.settings.masks.items()},
            "model": self._explainer.fingerprint(),
            "classes": self._model.classes,
            "images": [digest_of(pair.prior), digest_of(pair.current)],
            "cfcam": __version__,
        }
        return settings_hash(how)

    def _kept(self, name: str, key: str) -> dict[str, Any] | None:
        """The document of an earlier run, if it and its files are good."""
        folder = self.settings.output
        try:
            document: dict[str, Any] = json_text.read(folder / f"{name}.json")
            whole = all(stays_inside(f) and sha256_of(folder / f) == digest for f, digest in document["files"].items())
            return document if document["settings"] == key and whole else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _drawn(self, pair: Pair, comparison: Comparison, study: Study) -> list[Path]:
        how = self.settings
        heats = comparison.prior, comparison.current
        notes = [*comparison.notes]
        files = []
        if isinstance(study.image, Volume):
            scenes, more = volume_scenes(
                study.image, comparison.picture, heats, seen=comparison.seen, window=how.window
            )
            notes += more
            description = "difference on the common scale; research use"
            files.append(
                save_map_nifti(
                    comparison.difference,
                    study.image,
                    how.output / f"{pair.name}_difference.nii.gz",
                    description=description,
                    window=(-1.0, 1.0),
                )
            )
        else:
            grey = np.rint(comparison.picture.clip(0, 1) * 255).astype(np.uint8)
            scenes = [
                picture_scene(
                    study.image.rgb(),
                    np.repeat(grey[..., None], 3, axis=2),
                    heats,
                    seen=comparison.seen,
                    letters=letters_of(study.image),
                    scale=scale_of(study.image),
                )
            ]
        figure = comparison_figure(
            scenes,
            table_of(comparison.changes),
            title=title_of(pair, comparison),
            verdict=comparison.verdict,
            statement=f"{SENTENCE} {RESEARCH}",
            notes=[registration_line(comparison), *notes],
            threshold=comparison.threshold,
            palette=how.palette,
            opacity=how.opacity,
            blend=how.blend,
        )
        return [save_image(figure, how.output / f"{pair.name}.png"), *files]


def _reason(error: Exception) -> str:
    """One line; what a network of the user's raised is named as such."""
    if isinstance(error, CfcamError):
        return one_line(error, 1000)
    if isinstance(error, OSError):
        return f"a study cannot be read ({error.strerror}): check its permissions and the disk"
    return f"the network failed on this pair ({describe_first(error)})"
