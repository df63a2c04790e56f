"""A checkpoint counts from the moment that its state is written, and not before."""

from dids.training.checkpoints import newest_checkpoint, read_state, write_state


def test_interrupted_checkpoint_does_not_count_and_is_removed(tmp_path):
    whole, cut_short = tmp_path / "checkpoint-90", tmp_path / "checkpoint-100"
    for folder in (whole, cut_short):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x")
    write_state(whole, {"step": 90})
    assert newest_checkpoint(tmp_path) == whole
    assert not cut_short.exists()
    assert read_state(whole) == {"step": 90}


def test_newest_is_by_number_and_not_by_name(tmp_path):
    for step in (90, 1000, 200):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        write_state(folder, {"step": step})
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-1000"


def test_folder_without_checkpoints_has_none(tmp_path):
    assert newest_checkpoint(tmp_path) is None
