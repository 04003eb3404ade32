"""Measurements of cfcam beside other libraries: ``python -m benchmarks --help``."""
