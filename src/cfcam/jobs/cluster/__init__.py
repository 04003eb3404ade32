"""Several workers: the same run, its inputs spread over processes of this machine or a Ray cluster: ``--engine``."""
