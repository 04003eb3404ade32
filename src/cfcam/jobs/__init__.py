"""Floor 5: whole folders of pictures or volumes: read, explained, drawn and entered in a manifest; on one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.jobs.engine.inference import Windows
    from cfcam.jobs.inputs.find import Input, Kind, find_inputs
    from cfcam.jobs.inputs.preparing import preprocess_of, volume_preprocess_of
    from cfcam.jobs.runs.manifest import Explained, Manifest, Record, State
    from cfcam.jobs.runs.run import FolderRun, Outcome
    from cfcam.jobs.runs.settings import JobError, Save, Settings
    from cfcam.jobs.runs.volumes import VolumeRun, VolumeSettings, is_volume_run
    from cfcam.jobs.study.settings import StudySettings

__all__ = [
    "Explained",
    "FolderRun",
    "Input",
    "JobError",
    "Kind",
    "Manifest",
    "Outcome",
    "Record",
    "Save",
    "Settings",
    "State",
    "StudySettings",
    "VolumeRun",
    "VolumeSettings",
    "Windows",
    "find_inputs",
    "is_volume_run",
    "preprocess_of",
    "volume_preprocess_of",
]

__getattr__ = lazy(
    __name__,
    {
        "engine.inference": "Windows",
        "inputs.find": "Input Kind find_inputs",
        "inputs.preparing": "preprocess_of volume_preprocess_of",
        "runs.manifest": "Explained Manifest Record State",
        "runs.run": "FolderRun Outcome",
        "runs.settings": "JobError Save Settings",
        "runs.volumes": "VolumeRun VolumeSettings is_volume_run",
        "study.settings": "StudySettings",
    },
)
