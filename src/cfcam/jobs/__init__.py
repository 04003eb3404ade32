"""Floor 5: whole folders. One machine so far; the pictures are read, explained, drawn and entered in a manifest."""

from cfcam.jobs.inference import preprocess_of
from cfcam.jobs.inputs import Input, find_inputs
from cfcam.jobs.manifest import Explained, Manifest, Record, State
from cfcam.jobs.run import FolderRun, Outcome
from cfcam.jobs.settings import JobError, Save, Settings

__all__ = [
    "Explained",
    "FolderRun",
    "Input",
    "JobError",
    "Manifest",
    "Outcome",
    "Record",
    "Save",
    "Settings",
    "State",
    "find_inputs",
    "preprocess_of",
]
