"""What several test files of this room use."""

import pytest


@pytest.fixture
def where(tmp_path):
    return tmp_path / "audit.sqlite"
