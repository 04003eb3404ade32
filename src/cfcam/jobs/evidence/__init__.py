"""Everything that documents what a network's maps are worth: ``cfcam evidence``."""
