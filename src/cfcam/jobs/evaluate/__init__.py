"""A scorecard of maps over many pictures: ``cfcam evaluate``."""
