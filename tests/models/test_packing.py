"""Networks on their way to another process: weights and all, with the classes of a user's own file."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from cfcam.errors import ModelError
from cfcam.models import load
from cfcam.models.packing import packed, unpacked

FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.act = act

    class Inner(nn.Identity):
        pass

    def forward(self, x):
        return self.act(self.conv(x)).mean((2, 3))

def act(x):
    return x.relu()

def net():
    torch.manual_seed(4)
    found = Net()
    found.inner = Net.Inner()
    return found

def local():
    class Local(Net):
        pass
    return Local()
"""

THERE = """
import sys, torch
from cfcam.models.packing import unpacked
network = unpacked(open(sys.argv[1], "rb").read())
print(network(torch.ones(1, 3, 8, 8)).tolist(), type(network).__qualname__, type(network.inner).__qualname__)
"""


def test_a_network_of_a_users_file_gives_the_same_scores_in_a_process_that_never_loaded_it(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    network = load(f"{tmp_path / 'mine.py'}:net").module
    with torch.no_grad():
        network.conv.bias += 1  # as if weights had been loaded
    (tmp_path / "sent").write_bytes(packed(network, "mine.py:net"))
    call = [sys.executable, "-c", THERE, str(tmp_path / "sent")]
    said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert said.split("]]")[0] + "]]" == str(network(torch.ones(1, 3, 8, 8)).tolist())
    assert said.split("]]")[1].split() == ["Net", "Net.Inner"]


def test_what_is_found_by_no_name_is_refused_in_one_line(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    network = load(f"{tmp_path / 'mine.py'}:local").module
    with pytest.raises(ModelError, match=r"mine.py:local cannot be sent .*Local.*at the top of FILE.py") as caught:
        packed(network, "mine.py:local")
    assert "\n" not in str(caught.value)


def test_a_class_of_the_script_itself_is_refused_which_another_process_would_not_find(monkeypatch):
    there = type("Mine", (nn.Identity,), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Mine", there, raising=False)  # where pickle finds it by its name
    told = "mine cannot be sent to another process .*Mine is of __main__.*at the top of FILE.py"
    with pytest.raises(ModelError, match=told):
        packed(there(), "mine")


def test_a_file_that_is_not_there_and_a_library_that_is_not_installed_are_told(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    sent = packed(load(f"{tmp_path / 'mine.py'}:net").module, "mine.py:net")
    (tmp_path / "mine.py").write_text(FILE.replace("x.relu()", "x"))
    with pytest.raises(ModelError, match=r"mine.py is not the file that made the network"):
        unpacked(sent)
    (tmp_path / "mine.py").unlink()
    with pytest.raises(ModelError, match=r"mine.py is not on this machine"):
        unpacked(sent)
    with pytest.raises(ModelError, match=r"cannot be made in this process .*no_such_library.*install here"):
        unpacked(b"cno_such_library\nNet\n.")


def test_tied_weights_stay_tied():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    again = unpacked(packed(network, "mine"))
    assert again[1].weight is again[0].weight
    assert torch.equal(again[0].weight, network[0].weight)
