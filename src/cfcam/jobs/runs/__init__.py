"""Whole folders explained: planned, worked off, resumed: ``cfcam explain``."""
