"""What is remembered of training messages: enough to know them again, not enough to read them."""

import numpy as np
import pytest

from spamcli.errors import DataError
from spamcli.memory import Memory, hashes, unit

ARRAYS = ("hashes", "rows", "files", "labels", "vectors")
TEXTS = ["Win a PRIZE now!", "see you at six", "", "!!!"]
MIXED = np.array([[3, 4], [0, 2], [np.nan, np.nan], [-1, 0]], np.float32)


@pytest.fixture
def memory() -> Memory:
    return Memory.of(TEXTS, [10, 11, 12, 13], [0, 0, 1, 1], [1, 0, 0, 0], MIXED)


def test_knows_messages_but_for_case_punctuation_and_spaces(memory):
    asked = ["win a prize, now", "Win a prize now 2", "See  you at six.", "", "!!!", "???", "\ud83d"]
    assert memory.knows(asked).tolist() == [True, False, True, True, True, False, False]
    assert not memory.knows([]).any()


def test_hashes_are_those_of_the_letters_and_digits():
    first, second, third = hashes(["Free 50p", "free50P!", "free 50"])
    assert first == second != third
    assert hashes(["x"]).dtype == np.uint64


def test_vectors_keep_their_direction_and_those_without_tokens_have_none(memory):
    assert memory.vectors.tolist() == [[95, 127], [0, 127], [0, 0], [-127, 0]]
    np.testing.assert_array_equal(unit(MIXED)[2], [0, 0])


def test_nearest_by_hand(memory):
    (first, cosine), (second, other) = memory.nearest(np.array([0, 5], np.float32), 2)
    assert (first, second) == (1, 0)
    assert (cosine, other) == (pytest.approx(1, abs=1e-6), pytest.approx(127 / np.hypot(95, 127), abs=1e-6))


@pytest.mark.parametrize("keep", [True, False])
def test_saved_and_loaded(tmp_path, keep):
    memory = Memory.of(TEXTS, [10, 11, 12, 13], [0, 0, 1, 1], [1, 0, 0, 0], MIXED, keep_texts=keep)
    memory.save(tmp_path / "memory.npz")
    loaded = Memory.load(tmp_path / "memory.npz", 2, 2)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(memory, name))
    assert loaded.texts == (TEXTS if keep else None)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04"])
def test_damaged_memory_is_a_data_error(tmp_path, content):
    (tmp_path / "memory.npz").write_bytes(content)
    with pytest.raises(DataError, match="memory.npz: damaged"):
        Memory.load(tmp_path / "memory.npz", 2, 2)


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "memory.npz", hashes=np.array([{}], object))
    with pytest.raises(DataError, match="damaged"):
        Memory.load(tmp_path / "memory.npz", 2, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": np.zeros(3, np.int32)}, {"labels": np.zeros(4, np.int32)}, {"vectors": np.zeros(4, np.int8)},
        {"files": np.full(4, 2, np.int8)}, {"files": np.full(4, -1, np.int8)}, {"hashes": np.array(["x"] * 4)},
        {"vectors": np.zeros([4, 3], np.int8)}, {"texts": np.frombuffer(b'["a", 1, "", ""]', np.uint8)},
        {"texts": np.frombuffer(b'{"a": 1}', np.uint8)}, {"texts": np.frombuffer(b"[" * 99999, np.uint8)},

    ],
)  # fmt: skip
def test_memory_of_other_shapes_is_refused(tmp_path, memory, wrong):
    np.savez(tmp_path / "memory.npz", **{**{name: getattr(memory, name) for name in ARRAYS}, **wrong})
    with pytest.raises(DataError, match="damaged"):
        Memory.load(tmp_path / "memory.npz", 2, 2)
