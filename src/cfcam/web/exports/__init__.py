"""What is on the screen as files: picture, report, DICOM objects, numbers."""
