"""Floor 5: whole folders of pictures or volumes: read, explained, drawn and entered in a manifest; on one machine."""

from cfcam.jobs.inference import Windows
from cfcam.jobs.inputs import Input, Kind, find_inputs
from cfcam.jobs.manifest import Explained, Manifest, Record, State
from cfcam.jobs.preparing import preprocess_of, volume_preprocess_of
from cfcam.jobs.run import FolderRun, Outcome
from cfcam.jobs.settings import JobError, Save, Settings
from cfcam.jobs.study_settings import StudySettings
from cfcam.jobs.volumes import VolumeRun, VolumeSettings, is_volume_run

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
