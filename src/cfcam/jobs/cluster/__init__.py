"""Many machines: the same run, its inputs spread over the workers of a Ray cluster: ``cfcam explain --engine ray``."""
