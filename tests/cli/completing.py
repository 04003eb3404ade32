"""What the Tab key offers, asked as the shells ask."""

from __future__ import annotations

from typer.testing import CliRunner

from cfcam.cli.app import app


def completed(*typed: str) -> list[str]:
    """What is offered for the last of the words behind ``cfcam``."""
    words = ["cfcam", *typed]
    asked = {"_CFCAM_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner(env=asked).invoke(app, [], prog_name="cfcam")
    assert result.exit_code == 0, result.output
    return result.stdout.split()
