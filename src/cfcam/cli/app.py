"""The program ``cfcam``: its commands are registered here."""

from __future__ import annotations

from typing import Annotated

import typer

from cfcam.cli.demo import demo
from cfcam.cli.explain import explain
from cfcam.cli.layers import layers
from cfcam.cli.methods import methods

app = typer.Typer(
    name="cfcam",
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


EXPLAIN_EXAMPLES = """
**Examples**

    cfcam explain                    (testimgs/ -> output/, demo network)

    cfcam explain scans/ -r -o maps/ -m networks.py:my_net --classes names.txt

    cfcam explain cat.jpg -m torchvision:resnet50@DEFAULT --target tabby

    cfcam explain "xray/*.png" -m hf:my-model --method score-cam --layer layer3

    cfcam explain scans/ -m networks.py:my_net --mean 0.5 --std 0.25 --save maps

A run that was stopped goes on where it was when the same command is given again.

Exit codes: 0 all done · 1 some pictures failed · 2 wrong usage · 130 interrupted.
"""

METHODS_EXAMPLES = """
**Examples**

    cfcam methods

    cfcam methods --json | jq '.[].name'
"""

LAYERS_EXAMPLES = """
**Examples**

    cfcam layers torchvision:resnet50

    cfcam layers networks.py:my_net --size 512 --all
"""

DEMO_EXAMPLES = """
**Example**

    cfcam demo --output cfcam-demo
"""

app.command(epilog=EXPLAIN_EXAMPLES)(explain)
app.command(epilog=METHODS_EXAMPLES)(methods)
app.command(epilog=LAYERS_EXAMPLES)(layers)
app.command(epilog=DEMO_EXAMPLES)(demo)
