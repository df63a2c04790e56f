"""Every format gives the same records; every kind of damage gets one sentence."""

import gzip
import json
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dids.data import readers
from dids.data.byte_streams import byte_chunks, numbered_lines
from dids.data.readers import raw_records, read_records
from dids.data.sources import SourceFiles
from dids.errors import InputError

ROWS = [
    {"prompt": "2+2=", "completion": "4"},
    {"prompt": "Größe 大\u2028小?", "completion": "gr\r\noß"},
]


def records(path, **settings):
    format = settings.pop("format", None)
    return list(read_records(SourceFiles("src", (str(path),), format), **settings))


def pairs(found):
    return [{"prompt": r.prompt, "completion": r.completion} for r in found]


def jsonl_bytes():
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_every_format_gives_the_same_records(tmp_path, ending):
    path = tmp_path / f"records{ending}"
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
        path.write_bytes(pack.get(path.suffix, bytes)(jsonl_bytes()))
    found = records(path)
    assert pairs(found) == ROWS
    assert [r.origin.line for r in found] == [1, 2]
    assert {r.origin.file for r in found} == {str(path)}


def test_several_frames_in_one_archive_are_read(tmp_path):
    first, second = jsonl_bytes().split(b"\n")[:2]
    for name, pack in [("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstandard.compress)]:
        path = tmp_path / name
        path.write_bytes(pack(first + b"\n") + pack(second))
        assert pairs(records(path)) == ROWS


@pytest.mark.parametrize("window_log", [28, 31])
def test_an_archive_that_looks_far_back_is_read(tmp_path, window_log):
    far = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
    path = tmp_path / "a.jsonl.zst"
    frames = b""
    for _ in range(2):
        packer = zstandard.ZstdCompressor(compression_params=far).compressobj()
        frames += packer.compress(jsonl_bytes()) + packer.flush()
    assert zstandard.get_frame_parameters(frames).window_size == 1 << window_log
    path.write_bytes(frames)
    assert pairs(records(path)) == ROWS * 2


def test_blank_lines_a_byte_order_mark_and_windows_newlines_are_fine(jsonl):
    path = jsonl(b"\xef\xbb\xbf" + b'{"text": "one"}\r', b"", b"  \r", b'{"text": "two"}')
    assert [(r.text, r.origin.line) for r in records(path)] == [("one", 1), ("two", 4)]


def test_a_last_line_without_newline_is_read(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "one"}\n{"text": "two"}')
    assert [r.text for r in records(tmp_path / "a.jsonl")] == ["one", "two"]


def test_columns_that_are_null_in_a_row_are_absent(tmp_path):
    path = tmp_path / "mixed.parquet"
    rows = [{"text": "a", "prompt": None}, {"text": None, "prompt": "b"}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert [(r.text, r.prompt) for r in records(path, purpose="task")] == [("a", None), (None, "b")]


def test_messages_in_parquet_are_read(tmp_path):
    path = tmp_path / "chats.parquet"
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    pq.write_table(pa.Table.from_pylist([{"messages": chat}]), path)
    assert records(path)[0].messages[1].content == "Ho"


@pytest.mark.parametrize("ending", ["txt", "txt.gz"])
@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("".join(f"{i} some words\n" for i in range(60)), "\n"),
        ("\ufeffé ü " * 99, " "),  # one line
        ("é" * 301, "é"),  # one word of characters of two bytes
        ("x\n" * 32 + "\n" * 8, "\n"),  # nothing is left behind the first
    ],
)
def test_a_long_text_is_several_records_that_end_with_lines(
    tmp_path, monkeypatch, text, ends, ending
):
    monkeypatch.setattr(readers, "LONGEST_TEXT", 64)
    path = tmp_path / f"long.{ending}"
    content = text.encode()
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    found = records(path)
    joined = "".join(record.text for record in found)
    assert joined == text.removeprefix("\ufeff")[: len(joined)]
    assert text[len(joined) :].strip() == ""
    assert all(len(record.text.encode()) <= 64 for record in found)
    assert all(record.text.endswith(ends) for record in found[:-1])
    before = ["".join(other.text for other in found[:i]) for i in range(len(found))]
    assert [record.origin.line for record in found] == [1 + b.count("\n") for b in before]


def test_a_long_text_that_is_no_text_in_one_place_loses_that_record_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST_TEXT", 64)
    lines = [b"%d some words\n" % i for i in range(24)]
    lines[9] = b"9 so\xffe words\n"
    path, bad = tmp_path / "long.txt", []
    path.write_bytes(b"".join(lines))
    found = records(path, on_bad_record="skip", bad_records=bad)
    assert b"".join(lines[:5]).decode().startswith(found[0].text)
    at = len(b"".join(lines[:9])) + 4
    assert [each.line for each in bad] == [10]
    assert bad[0].reason == f"the text is not UTF-8 at byte {at} of the file"
    assert found[-1].text.endswith("23 some words\n")


def test_a_folder_of_texts_is_one_record_a_file_in_sorted_order(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("bee")
    (tmp_path / "deep" / "a.md").write_text("\ufeffay", "utf-8")
    (tmp_path / ".hidden").write_text("no")
    assert [r.text for r in records(tmp_path)] == ["bee", "ay"]


def test_a_format_overrules_the_ending(tmp_path):
    path = tmp_path / "data.log"
    path.write_text('{"text": "one"}\n')
    assert records(path)[0].text == '{"text": "one"}\n'
    assert records(path, format="jsonl")[0].text == "one"
    with pytest.raises(InputError, match=r"'format' must be one of jsonl, parquet, text.*'csv'"):
        records(path, format="csv")


def test_a_file_named_twice_is_read_once(jsonl):
    path = str(jsonl({"text": "one"}))
    assert len(list(read_records(SourceFiles("src", (path, path))))) == 1


BAD_LINES = [
    (b"{", ["line 2", "not JSON"]),
    (b'[{"text": "a"}]', ["line 2", "must be a JSON object, not a list"]),
    (b"[", ["line 2", "one object a line"]),
    (b"[" * 100_000, ["line 2", "not JSON"]),
    (b'{"text": ' + b"1" * 5000 + b"}", ["line 2"]),
    (b'"text"', ["line 2", "must be a JSON object"]),
    (b'{"text": "\xff"}', ["line 2", "not UTF-8 at byte 26"]),
    (b'{"txt": "a"}', ["line 2", "'txt'", "'text'"]),
    (b'{"text": ""}', ["line 2", "'text' is empty"]),
]


@pytest.mark.parametrize(("line", "words"), BAD_LINES)
def test_a_bad_line_is_named_with_its_file_and_number(jsonl, line, words):
    path = jsonl({"text": "one"}, line, {"text": "three"})
    with pytest.raises(InputError) as caught:
        records(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(("line", "words"), BAD_LINES)
def test_a_bad_line_can_be_left_out_and_is_noted(jsonl, line, words):
    path, bad = jsonl({"text": "one"}, line, {"text": "three"}), []
    found = records(path, on_bad_record="skip", bad_records=bad)
    assert [r.text for r in found] == ["one", "three"]
    assert [(b.file, b.line) for b in bad] == [(str(path), 2)]
    assert all(word in f"line 2: {bad[0].reason}" for word in words)


def test_the_offset_of_a_bad_byte_counts_the_whole_file(tmp_path):
    for start in (b"", b"\xef\xbb\xbf"):
        content = start + b"one\ntwo\xfe"
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(InputError, match=f"line 2: .*byte {content.index(0xFE)}"):
            records(tmp_path / "a.txt")
    content = b"\xef\xbb\xbf" + b'{"text": "\xfe"}'
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=f"line 1: .*byte {content.index(0xFE)}"):
        records(tmp_path / "a.jsonl")


def test_a_source_of_bad_records_alone_is_empty_and_says_why(jsonl):
    path = jsonl({"txt": "one"})
    with pytest.raises(InputError, match=r"'src'.*no usable record.*line 1.*txt"):
        records(path, on_bad_record="skip")


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_an_empty_source_is_refused(tmp_path, content):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"'src' .*a.jsonl.* has no usable record"):
        records(tmp_path / "a.jsonl")


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "not an archive", "empty", "flipped"])
def test_a_damaged_archive_is_refused(tmp_path, ending, damage):
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor(write_checksum=True).compress}
    # Not compressible, so the cut is in the middle of the content.
    text = "".join(chr(97 + (i * i * 31 + i // 7) % 26) for i in range(20_000))
    whole = bytearray(pack[ending](json.dumps({"text": text}).encode() + b"\n"))
    if damage == "flipped":
        whole[-3] ^= 255
    content = {"cut": whole[: len(whole) // 2], "not an archive": b'{"text": "a"}', "empty": b""}
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(content.get(damage, whole))
    expected = "damaged or cut-off" if (ending, damage) != (".gz", "empty") else "no usable record"
    with pytest.raises(InputError, match=expected):
        records(path)


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"cannot be read as Parquet"):
        records(path)


TEXTS = pa.array(["one", "two"])
NOT_UTF8 = pa.Array.from_buffers(
    pa.string(),
    2,
    [None, pa.py_buffer(struct.pack("<3i", 0, 1, 2)), pa.py_buffer(b"a\xff")],
)
WITHOUT_A_VALUE = {
    "'Mars/Base' is not known": pa.array([1, 2], pa.timestamp("us", tz="Mars/Base")),
    "range": pa.array([2**62, 2], pa.timestamp("us")),
    "utf-8": NOT_UTF8,
}


@pytest.mark.parametrize("said", WITHOUT_A_VALUE)
def test_a_column_that_no_record_is_made_of_is_not_read(tmp_path, said):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"odd": WITHOUT_A_VALUE[said], "text": TEXTS}), path)
    assert [(r.text, r.origin.line) for r in records(path)] == [("one", 1), ("two", 2)]
    with pytest.raises(InputError, match=f"a.parquet .* after row 0, in row group 0: .*{said}"):
        list(raw_records(SourceFiles("src", (str(path),))))


def test_a_text_in_parquet_that_is_not_utf8_is_named_with_its_row_group(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.concat_arrays([TEXTS, NOT_UTF8])}), path, row_group_size=2)
    with pytest.raises(InputError, match=r"a.parquet .* after row 2, in row group 1: .*utf-8"):
        records(path)


def test_raw_records_have_every_column(tmp_path):
    path = tmp_path / "a.parquet"
    rows = [{"id": 1, "text": "one"}, {"id": 2, "text": None}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert [fields for _, fields in raw_records(SourceFiles("src", (str(path),)))] == rows


def test_a_row_of_parquet_without_a_known_field_is_told_its_columns(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [1], "text": pa.array([None], pa.string()), "txt": ["a"]}), path)
    with pytest.raises(InputError, match=r"line 1: .*only 'id', 'text' \(null\), 'txt'"):
        records(path)
    pq.write_table(pa.table({"id": [1], "txt": ["a"]}), path)
    with pytest.raises(InputError, match=r"line 1: .*only 'id', 'txt'; did you mean 'text'"):
        records(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"'src': there is no file or folder .*nothing.jsonl"):
        records(tmp_path / "nothing.jsonl")


@given(st.lists(st.binary(max_size=12).filter(lambda b: b"\n" not in b), min_size=1))
def test_lines_and_offsets_are_those_of_the_whole_file(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "a"
    content = b"\n".join(lines)
    path.write_bytes(content)
    expected = content.split(b"\n")
    expected = expected[:-1] if not expected[-1] else expected
    found = list(numbered_lines(path))
    assert [line for _, _, line in found] == expected
    assert [number for number, _, _ in found] == list(range(1, len(expected) + 1))
    for _, offset, line in found:
        assert content[offset : offset + len(line)] == line


def test_chunks_do_not_change_lines(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(jsonl_bytes()))
    whole = list(numbered_lines(path))
    monkeypatch.setattr("dids.data.byte_streams.CHUNK_BYTES", 3)
    assert list(numbered_lines(path)) == whole
    assert max(len(chunk) for chunk in byte_chunks(path)) <= 3


@given(st.lists(st.sampled_from([b"", b"a", b"\n", b"bc\n", b"\nd", b"e\n\nf", b"\n\n"])))
def test_lines_that_begin_and_end_in_any_chunk_are_whole(chunks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dids.data.byte_streams.byte_chunks", lambda _: iter(chunks))
        found = list(numbered_lines(Path("a")))
    content = b"".join(chunks)
    lines = content.split(b"\n")
    expected = [
        (number, sum(len(line) + 1 for line in lines[: number - 1]), line)
        for number, line in enumerate(lines, start=1)
    ]
    assert found == (expected if lines[-1] else expected[:-1])


class CountedBytes(bytes):
    """Counts how many bytes are copied where two are put together."""

    copied = 0

    def __radd__(self, other):
        CountedBytes.copied += len(other) + len(self)
        return CountedBytes(bytes(other) + bytes(self))

    def __add__(self, other):
        CountedBytes.copied += len(self) + len(other)
        return CountedBytes(bytes(self) + bytes(other))


def test_the_chunks_of_a_long_line_are_not_copied_for_each_of_them(monkeypatch):
    chunks = [CountedBytes(b"abcd")] * 1000
    monkeypatch.setattr("dids.data.byte_streams.byte_chunks", lambda _: iter(chunks))
    monkeypatch.setattr(CountedBytes, "copied", 0)
    assert list(numbered_lines(Path("a"))) == [(1, 0, b"abcd" * 1000)]
    assert CountedBytes.copied <= 3 * 4000


def test_the_instruction_data_is_read_without_a_bad_record(instruct_pack):
    task = instruct_pack / "tasks"
    for path in sorted(Path(task).glob("*/*.jsonl.gz")):
        found = records(path, purpose="task")
        assert found
        if path.parent.name == "ifeval":
            assert all(r.completion is None for r in found)
        else:
            assert all(r.completion for r in found)
    assert len(records(instruct_pack / "train" / "gsm8k_train.jsonl.gz")) == 7473
