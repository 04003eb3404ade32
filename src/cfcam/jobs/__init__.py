"""Floor 5: whole folders of pictures or volumes: read, explained, drawn, entered in a manifest; or one study alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy
from cfcam.errors import JobError

if TYPE_CHECKING:
    from cfcam.explainer_windows import Windows
    from cfcam.jobs.index.labels import Labels, read_labels
    from cfcam.jobs.index.settings import PageSettings
    from cfcam.jobs.inputs.find import Input, Kind, find_inputs
    from cfcam.jobs.inputs.preparing import VolumeSettings, is_volume_run, preprocess_of, volume_preprocess_of
    from cfcam.jobs.runs.manifest import Explained, Manifest, Record, State
    from cfcam.jobs.runs.run import FolderRun, VolumeRun
    from cfcam.jobs.runs.settings import Save, Settings
    from cfcam.jobs.runs.task import Outcome
    from cfcam.jobs.study.result import StudyExplainer, explain_study
    from cfcam.jobs.study.settings import StudySettings

__all__ = [
    "Explained",
    "FolderRun",
    "Input",
    "JobError",
    "Kind",
    "Labels",
    "Manifest",
    "Outcome",
    "PageSettings",
    "Record",
    "Save",
    "Settings",
    "State",
    "StudyExplainer",
    "StudySettings",
    "VolumeRun",
    "VolumeSettings",
    "Windows",
    "explain_study",
    "find_inputs",
    "is_volume_run",
    "preprocess_of",
    "read_labels",
    "volume_preprocess_of",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.explainer_windows": "Windows",
        "cfcam.jobs.index.labels": "Labels read_labels",
        "cfcam.jobs.index.settings": "PageSettings",
        "cfcam.jobs.inputs.find": "Input Kind find_inputs",
        "cfcam.jobs.inputs.preparing": "VolumeSettings is_volume_run preprocess_of volume_preprocess_of",
        "cfcam.jobs.runs.manifest": "Explained Manifest Record State",
        "cfcam.jobs.runs.run": "FolderRun VolumeRun",
        "cfcam.jobs.runs.settings": "Save Settings",
        "cfcam.jobs.runs.task": "Outcome",
        "cfcam.jobs.study.result": "StudyExplainer explain_study",
        "cfcam.jobs.study.settings": "StudySettings",
    },
)
