"""A store gives back what was encoded, or is not there at all."""

import errno
import json
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_tokenizers import make_tokenizer

from dids.data import token_samples
from dids.data.records import BadRecord, Message, Origin, Record
from dids.data.rendering import encode_record
from dids.data.sequence_length import fit_to_length
from dids.data.token_store import open_token_store, token_store_key, write_token_store
from dids.errors import InputError


def write(folder, records, tokenizer, length=8, **settings):
    chosen = {"name": "src", "key": "k", "prompt_format": "chat", **settings}
    return write_token_store(folder, iter(records), tokenizer, sequence_length=length, **chosen)


def a_few(number=7):
    for i in range(number):
        where = Origin(f"file{i % 2}.jsonl", i + 1)
        if i % 3 == 0:
            yield Record(where, text="the cat sat on the mat " * (i + 1))
        elif i % 3 == 1:
            yield Record(where, prompt="a question? " * i, completion="an answer!")
        else:
            yield Record(where, messages=(Message("user", "Hi"), Message("assistant", "Ho")))


def slow_twin(records, tokenizer, length):
    return [
        (piece.token_ids, piece.is_scored, record.origin)
        for record in records
        for piece in fit_to_length(encode_record(record, tokenizer), length)
    ]


def assert_holds(store, expected):
    assert len(store) == store.num_samples == len(expected)
    for index, (ids, is_scored, origin) in enumerate(expected):
        found_ids, found_scored = store.sample(index)
        assert found_ids.tolist() == ids
        assert found_scored.tolist() == is_scored
        assert store.origin(index) == origin
    assert store.lengths.tolist() == [len(ids) for ids, _, _ in expected]
    assert store.scored_counts.tolist() == [sum(scored) for _, scored, _ in expected]
    assert store.num_tokens == sum(len(ids) for ids, _, _ in expected)
    assert store.num_scored_tokens == sum(sum(scored) for _, scored, _ in expected)


@pytest.mark.parametrize("batch", [1, 2, 512])
def test_a_store_gives_back_every_sample(tmp_path, tokenizer, monkeypatch, batch):
    monkeypatch.setattr(token_samples, "RECORDS_PER_BATCH", batch)
    store = write(tmp_path / "store", a_few(), tokenizer)
    assert_holds(store, slow_twin(a_few(), tokenizer, 8))
    assert_holds(open_token_store(tmp_path / "store", "k"), slow_twin(a_few(), tokenizer, 8))
    assert store.num_records == 7
    assert store.name == "src"
    assert store.lengths.dtype == store.scored_counts.dtype == np.int32


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), min_size=1))
def test_any_texts_survive_the_disk(tmp_path_factory, tokenizer, texts):
    records = [Record(Origin("f", i), text=text) for i, text in enumerate(texts)]
    expected = slow_twin(records, tokenizer, 6)
    store = write(tmp_path_factory.mktemp("any") / "store", records, tokenizer, 6)
    assert_holds(store, expected)


def test_arrays_are_mapped_and_small(tmp_path, tokenizer):
    store = write(tmp_path / "store", a_few(), tokenizer)
    tokens = np.load(tmp_path / "store" / "tokens.npy", mmap_mode="r", allow_pickle=False)
    assert tokens.dtype == np.uint16
    assert isinstance(store._tokens, np.memmap)


def test_a_vocabulary_beyond_sixteen_bits_gets_wider_tokens(tmp_path):
    wide = make_tokenizer()
    first = len(wide)
    wide.add_tokens([f"word{i}x" for i in range(66_000)])
    store = write(tmp_path / "store", [Record(Origin("f", 1), text="word65999x")], wide)
    assert store.sample(0)[0].tolist() == [first + 65_999, wide.eos_token_id]


def test_truncated_chats_are_counted_and_cut_texts_are_not(tmp_path, tokenizer):
    long = Record(Origin("f", 1), prompt="the cat " * 50, completion="an answer!")
    store = write(tmp_path / "store", [long, Record(Origin("f", 2), text="mat " * 50)], tokenizer)
    assert store.num_truncated == 1


def test_samples_that_are_not_there_are_an_index_error(tmp_path, tokenizer):
    store = write(tmp_path / "store", a_few(), tokenizer)
    for index in (-1, len(store)):
        with pytest.raises(IndexError):
            store.sample(index)
        with pytest.raises(IndexError):
            store.origin(index)


def test_a_store_of_another_key_is_not_opened(tmp_path, tokenizer):
    write(tmp_path / "store", a_few(), tokenizer)
    assert open_token_store(tmp_path / "store", "other") is None
    assert open_token_store(tmp_path / "none", "k") is None


@pytest.mark.parametrize("name", ["tokens.npy", "scored.npy", "offsets.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "empty"])
def test_a_damaged_store_is_not_opened(tmp_path, tokenizer, name, damage, caplog):
    write(tmp_path / "store", a_few(), tokenizer)
    path = tmp_path / "store" / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    changed = {"cut": content[:-1], "flipped": content, "empty": b""}
    path.unlink() if damage == "gone" else path.write_bytes(changed[damage])
    assert open_token_store(tmp_path / "store", "k") is None
    assert damage == "gone" or "is damaged" in caplog.text


def test_writing_again_replaces_and_leaves_nothing_beside(tmp_path, tokenizer):
    (tmp_path / "store.tmp-123").mkdir()
    (tmp_path / "store.tmp-123" / "tokens.npy").write_bytes(b"half")
    write(tmp_path / "store", a_few(), tokenizer)
    write(tmp_path / "store", a_few(2), tokenizer, key="new")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert open_token_store(tmp_path / "store", "new").num_records == 2


def broken(error):
    yield from a_few(3)
    raise error


@pytest.mark.parametrize("error", [InputError("bad"), KeyboardInterrupt(), OSError(errno.EIO, "x")])
def test_an_interrupted_write_leaves_the_old_store_alone(tmp_path, tokenizer, error):
    write(tmp_path / "store", a_few(), tokenizer)
    with pytest.raises(type(error)):
        write(tmp_path / "store", broken(error), tokenizer, key="new")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert open_token_store(tmp_path / "store", "k") is not None


def test_a_full_disk_is_said_in_a_sentence(tmp_path, tokenizer):
    with pytest.raises(InputError, match=r"disk is full .*'src'"):
        write(tmp_path / "store", broken(OSError(errno.ENOSPC, "full")), tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_records_that_give_no_sample_are_refused(tmp_path):
    endless = make_tokenizer(eos_token=None)
    with pytest.raises(InputError, match=r"'src' gives no sample: none of its 1 records"):
        write(tmp_path / "store", [Record(Origin("f", 1), text="a")], endless)


def test_a_sequence_length_without_room_is_refused(tmp_path, tokenizer):
    with pytest.raises(InputError, match=r"sequence_length' must be at least 2.*it is 1"):
        write(tmp_path / "store", a_few(), tokenizer, 1)


def test_skipped_records_are_kept_with_the_store(tmp_path, tokenizer):
    bad = [BadRecord("f.jsonl", 3, "why")]
    assert write(tmp_path / "store", a_few(), tokenizer, bad_records=bad).bad_records == bad
    assert open_token_store(tmp_path / "store", "k").bad_records == bad


def test_progress_adds_up_to_the_records(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(token_samples, "RECORDS_PER_BATCH", 3)
    done = []
    write(tmp_path / "store", a_few(), tokenizer, progress=done.append)
    assert done == [3, 3, 1]


def test_long_texts_make_smaller_batches(monkeypatch):
    monkeypatch.setattr(token_samples, "CHARACTERS_PER_BATCH", 10)
    records = [Record(Origin("f", i), text="x" * 6) for i in range(5)]
    assert [len(batch) for batch in token_samples._batches(iter(records))] == [2, 2, 1]


def test_long_chats_and_prompts_make_smaller_batches_too(monkeypatch):
    monkeypatch.setattr(token_samples, "CHARACTERS_PER_BATCH", 10)
    chat = (Message("user", "x" * 3), Message("assistant", "x" * 3))
    for said in ({"messages": chat}, {"prompt": "x" * 3, "completion": "x" * 3}):
        records = [Record(Origin("f", i), **said) for i in range(5)]
        assert [len(batch) for batch in token_samples._batches(iter(records))] == [2, 2, 1]


def test_a_pickled_store_is_a_path_and_no_arrays(tmp_path, tokenizer):
    # Loader workers that are spawned get the store this way; nothing on disk is ever a pickle.
    store = write(tmp_path / "store", [Record(Origin("f", 1), text="mat " * 9000)], tokenizer)
    packed = pickle.dumps(store)
    assert len(packed) < 1000
    assert pickle.loads(packed).sample(3)[0].tolist() == store.sample(3)[0].tolist()


def test_every_setting_changes_the_key():
    base = ("c", "t", 256, "chat", "train", "stop")
    others = [
        ("d", "t", 256, "chat", "train", "stop"),
        ("c", "u", 256, "chat", "train", "stop"),
        ("c", "t", 128, "chat", "train", "stop"),
        ("c", "t", 256, "plain", "train", "stop"),
        ("c", "t", 256, "chat", "task", "stop"),
        ("c", "t", 256, "chat", "train", "skip"),
    ]
    keys = [token_store_key(*settings) for settings in [base, *others]]
    assert len(set(keys)) == len(keys)
    assert token_store_key(*base) == keys[0]


def test_the_meta_file_is_plain_json(tmp_path, tokenizer):
    write(tmp_path / "store", a_few(), tokenizer)
    meta = json.loads((tmp_path / "store" / "meta.json").read_text())
    assert meta["key"] == "k"
    assert meta["files"] == ["file0.jsonl", "file1.jsonl"]


def peak_bytes(folder, tokenizer, number):
    records = (
        Record(Origin("f", i + 1), text="the cat sat on the mat " * 8) for i in range(number)
    )
    tracemalloc.start()
    try:
        write(folder, records, tokenizer, 256)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_flat_as_the_corpus_grows(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(token_samples, "RECORDS_PER_BATCH", 64)
    peak_bytes(tmp_path / "warm", tokenizer, 64)
    small = peak_bytes(tmp_path / "small", tokenizer, 256)
    large = peak_bytes(tmp_path / "large", tokenizer, 2048)
    assert large < 1.2 * small
