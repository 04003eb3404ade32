"""The program ``cfcam``: its commands are registered here."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import typer.core

from cfcam.cli.assess import Assess
from cfcam.cli.audit import audit
from cfcam.cli.calibrate import Calibrate
from cfcam.cli.check import Check
from cfcam.cli.command import add
from cfcam.cli.compare import Compare
from cfcam.cli.deidentify import Deidentify
from cfcam.cli.demo import Demo
from cfcam.cli.doctor import Doctor
from cfcam.cli.evaluate import Evaluate
from cfcam.cli.evidence import evidence
from cfcam.cli.explain import Explain
from cfcam.cli.fhir import Fhir
from cfcam.cli.gateway import Gateway
from cfcam.cli.layers import Layers
from cfcam.cli.methods import Methods
from cfcam.cli.metrics import Metrics
from cfcam.cli.pacs.fetch import Fetch
from cfcam.cli.pacs.send import Send
from cfcam.cli.runs.status import Status
from cfcam.cli.view import View
from cfcam.urls import shown_url


class _Commands(typer.core.TyperGroup):
    """The commands, whose complaints of arguments repeat no password of an address that was typed at a wrong place."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(message := getattr(error, "message", None), str) and hasattr(error, "format_message"):
                error.message = shown_url(message)  # type: ignore[attr-defined]
            raise


app = typer.Typer(
    name="cfcam",
    cls=_Commands,
    help="What did a PyTorch vision model look at? Class activation maps you can trust.",
    epilog="New here? Type **cfcam demo**: it needs no data, no network and half a minute.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from cfcam._version import __version__

        typer.echo(f"cfcam {__version__}")
        raise typer.Exit


@app.callback()
def cfcam(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What did a PyTorch vision model look at? Class activation maps you can trust."""


add(
    app,
    Explain,
    Status,
    View,
    Methods,
    Layers,
    Demo,
    Check,
    Calibrate,
    Compare,
    Doctor,
    Deidentify,
    Evaluate,
    Metrics,
    Fhir,
    Assess,
)  # in the order of the help
add(app, Send, Fetch, Gateway)
app.add_typer(audit, name="audit")
app.add_typer(evidence, name="evidence")
