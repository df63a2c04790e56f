"""Arrays written piece by piece are ordinary .npy files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.data.array_file import ArrayWriter, array_checksum, mapped_array


@given(
    st.lists(st.lists(st.integers(0, 65535), max_size=9)), st.sampled_from(["<u2", "<i8", "<f4"])
)
def test_what_is_written_in_pieces_is_loaded_as_one_array(tmp_path_factory, pieces, dtype):
    path = tmp_path_factory.mktemp("array") / "a.npy"
    writer = ArrayWriter(path, dtype)
    for piece in pieces:
        writer.append(piece)
    checksum = writer.finish()
    expected = np.array([value for piece in pieces for value in piece], dtype)
    for found in (np.load(path, allow_pickle=False), mapped_array(path)):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert array_checksum(path) == checksum


def test_a_changed_byte_changes_the_checksum(tmp_path):
    path = tmp_path / "a.npy"
    writer = ArrayWriter(path, "?")
    writer.append([True, False])
    checksum = writer.finish()
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert array_checksum(path) != checksum


def test_a_number_too_large_for_the_type_is_an_error(tmp_path):
    writer = ArrayWriter(tmp_path / "a.npy", "<u2")
    with pytest.raises(OverflowError):
        writer.append([65536])
    writer.abandon()
