"""Pairs of studies of one patient: ``cfcam compare``."""
