"""The door to a cluster: who may come in, and what is said where there is none."""

import os
import subprocess
import sys

import pytest

from cfcam.errors import JobError
from cfcam.jobs.cluster.pool import Cluster, guard, joined

STRANGER = """
import sys
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1]).internal_kv_get(b"dummy", None)
except Exception as error:
    print(type(error).__name__)
else:
    print("came in")
"""


def test_a_stranger_without_the_token_is_turned_away(machines):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    known = {**plain, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"]}
    said = [
        subprocess.run(
            [sys.executable, "-c", STRANGER, machines.address], env=env, capture_output=True, text=True, check=True
        ).stdout.strip()
        for env in (plain, known)
    ]
    assert said == ["AuthenticationError", "came in"]


def test_a_cluster_of_a_run_alone_gets_a_token_of_its_own(monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    guard()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    token = os.environ["RAY_AUTH_TOKEN"]
    guard()
    assert os.environ["RAY_AUTH_TOKEN"] == token


def test_a_cluster_is_not_started_without_a_token(machines, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(JobError, match="Ray was imported before its cluster could be given a token"):
        joined(Cluster(), 0)
