"""The key of pseudonyms in its file."""

from __future__ import annotations

import pytest

from cfcam.errors import InputError
from cfcam.exchange.deidentify.deidentifier import SHORTEST_KEY
from cfcam.exchange.deidentify.key import kept_key, new_key


def test_a_missing_key_is_made_for_its_owner_alone_and_read_again(tmp_path):
    first = kept_key(tmp_path / "key")
    assert len(first) >= SHORTEST_KEY
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert kept_key(tmp_path / "key") == first
    assert kept_key(tmp_path / "other") != first


def test_a_key_of_ones_own_is_taken_without_the_line_end(tmp_path):
    (tmp_path / "key").write_bytes(b"a secret of sixteen bytes\n")
    assert kept_key(tmp_path / "key") == b"a secret of sixteen bytes"


def test_new_keys_differ():
    assert new_key() != new_key()
    assert len(new_key()) >= SHORTEST_KEY


def test_a_place_where_no_key_can_be_is_one_line_without_its_name(tmp_path):
    with pytest.raises(InputError, match="cannot be read or made") as error:
        kept_key(tmp_path / "patient" / "key")
    assert "patient" not in str(error.value)
