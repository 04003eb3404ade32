"""Are maps where they may be, and what do they rest on? ``cfcam check``."""
