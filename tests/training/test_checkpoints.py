"""A checkpoint counts from the moment that its state is written, and not before."""

import pytest
from tiny_trainer import tiny_trainer, trained

from dids.errors import InputError
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


@pytest.mark.parametrize("lost", [["dids_state.json"], ["dids_state.json", "trainer_state.json"]])
def test_a_run_that_was_killed_while_it_saved_goes_on_from_the_checkpoint_before(tmp_path, lost):
    whole = trained(tmp_path, max_steps=6, save_steps=2)
    for name in lost:
        (tmp_path / "checkpoint-6" / name).unlink()
    (tmp_path / "checkpoint-best").mkdir()  # somebody else's
    resumed = tiny_trainer(tmp_path, max_steps=6, save_steps=2)
    resumed.train(resume_from_checkpoint=True)
    for ours, theirs in [
        (resumed.seen, whole.seen), (resumed.step_losses, whole.step_losses),
    ]:  # fmt: skip
        assert ours == {step: value for step, value in theirs.items() if step >= 4}
    assert read_state(tmp_path / "checkpoint-6")["step"] == 6


def test_with_no_complete_checkpoint_a_run_does_not_begin_anew_unasked(tmp_path):
    trained(tmp_path, max_steps=2, save_steps=2)
    (tmp_path / "checkpoint-2" / "dids_state.json").unlink()
    with pytest.raises(InputError, match="cut off while it was written; resume from one before"):
        tiny_trainer(tmp_path, max_steps=4).train(resume_from_checkpoint=True)
