"""What reads an option of the command line must not wait for numpy: `cfcam compare --gate`, `--region-threshold`."""

import subprocess
import sys


def test_a_gate_and_a_rule_for_regions_are_read_without_numpy():
    code = (
        "import sys; from cfcam.clinical.comparison.gate import Gate; from cfcam.clinical.region_rule import read_rule;"
        " print(Gate.parse('overlap=0.5').overlap, read_rule('quantile:0.9'), 'numpy' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split("\n")[0] == "0.5 ('quantile', 0.9) False"
