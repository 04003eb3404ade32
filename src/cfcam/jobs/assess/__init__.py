"""What a reader says of a map of a study that was explained: into the audit, and as a DICOM SR."""
