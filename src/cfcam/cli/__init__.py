"""Floor 6: the command line. Nothing here imports torch before a command needs it, so that help answers at once."""

from __future__ import annotations


def main() -> None:
    """Runs ``cfcam`` with the arguments of the process."""
    from cfcam.cli.app import app
    from cfcam.private import keep_private

    keep_private()
    app()
