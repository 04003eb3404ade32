"""The gateway: objects in by DICOM, a folder or DICOMweb; explained by the network that a rule names; results back."""
