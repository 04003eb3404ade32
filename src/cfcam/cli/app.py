"""The program ``cfcam``: its commands are registered here."""

from __future__ import annotations

from typing import Annotated

import typer

from cfcam.cli.audit import audit
from cfcam.cli.calibrate import calibrate
from cfcam.cli.check import check
from cfcam.cli.compare import compare
from cfcam.cli.deidentify import deidentify
from cfcam.cli.demo import demo
from cfcam.cli.doctor import doctor
from cfcam.cli.evaluate import evaluate
from cfcam.cli.evidence import evidence
from cfcam.cli.explain import explain
from cfcam.cli.layers import layers
from cfcam.cli.methods import methods
from cfcam.cli.metrics import metrics

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

EVALUATE_EXAMPLES = """
**Examples**

    cfcam evaluate demo --limit 16                (drawn phantoms, demo network, a minute)

    cfcam evaluate scans/ -m networks.py:my_net --classes names.txt --methods cf-cam,score-cam

    cfcam evaluate cases.csv -m networks.py:my_net --metrics faithfulness,hit-rate --limit 200 --seed 1

    cfcam evaluate cases.csv -m networks.py:my_net --metrics all --methods all -o scorecard/

    cfcam evaluate volumes/ -m nets3d.py:my_net --spacing 1 --size 96 --intensity unit

cases.csv, paths relative to it, boxes in pixels as [x0, y0, x1, y1]:

    image,label,mask,boxes,patient,group

    a.png,nodule,masks/a.png,,P1,Basel

    b.png,nodule,,"[[30, 23, 195, 182]]",P2,Lyon

A run that was stopped goes on where it was when the same command is given again.

Exit codes: 0 all done · 1 some pictures failed · 2 wrong usage · 130 interrupted.
"""

METRICS_EXAMPLES = """
**Examples**

    cfcam metrics

    cfcam metrics --json | jq '.[] | select(.group == "faithfulness").name'
"""

DEIDENTIFY_EXAMPLES = """
**Examples**

    cfcam deidentify study/ clean/ --key secret.key

    cfcam deidentify study/ clean/ --key secret.key --allow-burned-in    (after looking at the pictures)

Exit codes: 0 all done · 1 some files refused · 2 wrong usage.
"""

CHECK_EXAMPLES = """
**Examples**

    cfcam check scans/ -m networks.py:my_net --organ masks/{stem}_lungs.png --artefacts devices/

    cfcam check chest.png --findings lesions.png --limits site.json --json --output checks.json

Exit codes: 0 nothing flagged · 1 something flagged · 2 wrong usage.
"""

DOCTOR_EXAMPLES = """
**Examples**

    cfcam doctor --model networks.py:my_net --weights best.pt

    cfcam doctor scans/a.png scans/b.png -m networks.py:my_net --mean 0.5 --std 0.25 --classes names.txt

    cfcam doctor scans/ -m hf:my-model --json | jq '.findings[] | select(.severity == "problem")'

Exit codes: 0 no problem · 1 a problem · 2 wrong usage.
"""

COMPARE_EXAMPLES = """
**Examples**

    cfcam compare chest-2023.png chest-2024.png -m networks.py:my_net --target nodule

    cfcam compare ct-before/ ct-after/ -m networks.py:my_unet --registration affine --mask liver=liver.nii.gz

    cfcam compare --pairs pairs.csv -m networks.py:my_net -o serial/ --json

pairs.csv, paths relative to it:

    prior,current,name

    p1/2023.dcm,p1/2024.dcm,patient-1

A run that was stopped goes on where it was when the same command is given again.

Exit codes: 0 all compared · 1 some not compared · 2 wrong usage · 130 interrupted.
"""

CALIBRATE_EXAMPLES = """
**Example**

    cfcam calibrate predictions.csv --bins 10

predictions.csv, a column of logits for each class; of a multi-label network "label:nodule" and so on for "label":

    patient,label,no finding,nodule

    P1,nodule,-1.3,2.1
"""

DEMO_EXAMPLES = """
**Example**

    cfcam demo --output cfcam-demo
"""

app.command(epilog=EXPLAIN_EXAMPLES)(explain)
app.command(epilog=METHODS_EXAMPLES)(methods)
app.command(epilog=LAYERS_EXAMPLES)(layers)
app.command(epilog=DEMO_EXAMPLES)(demo)
app.command(epilog=CHECK_EXAMPLES)(check)
app.command(epilog=CALIBRATE_EXAMPLES)(calibrate)
app.command(epilog=COMPARE_EXAMPLES)(compare)
app.command(epilog=DOCTOR_EXAMPLES)(doctor)
app.command(epilog=DEIDENTIFY_EXAMPLES)(deidentify)
app.command(epilog=EVALUATE_EXAMPLES)(evaluate)
app.command(epilog=METRICS_EXAMPLES)(metrics)
app.add_typer(audit, name="audit")
app.add_typer(evidence, name="evidence")
