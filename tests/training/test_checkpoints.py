"""A checkpoint counts from the moment that its state is written, and not before."""

import pytest
from tiny_trainer import tiny_trainer, trained

from dids.errors import InputError
from dids.training import checkpoints
from dids.training.checkpoints import damaged_file, newest_checkpoint, read_state, write_state


def test_interrupted_checkpoint_does_not_count_and_is_removed(tmp_path):
    whole, cut_short = tmp_path / "checkpoint-90", tmp_path / "checkpoint-100"
    for folder in (whole, cut_short):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x")
    write_state(whole, {"step": 90})
    assert newest_checkpoint(tmp_path) == whole
    assert not cut_short.exists()
    assert read_state(whole) == {"step": 90}


def test_checkpoint_of_another_version_is_refused_in_a_sentence(tmp_path, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(checkpoints, "_FORMAT", 0)
        trained(tmp_path, max_steps=2, save_steps=2)
    resumed = tiny_trainer(tmp_path, max_steps=4, save_steps=2)
    with pytest.raises(InputError, match=r"checkpoint-2: another version of dids wrote it"):
        resumed.train(resume_from_checkpoint=True)


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


def damaged(path, how):
    """Make a file differ from what was written."""
    octets = bytearray(path.read_bytes())
    if how == "remove":
        path.unlink()
    elif how == "truncate":
        path.write_bytes(octets[: len(octets) // 2])
    else:
        octets[len(octets) // 3] ^= 4
        path.write_bytes(octets)


FILES = [
    "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json",
    "dids_state.json", "dids_checksums.json",
]  # fmt: skip


@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(tmp_path, caplog, name, how):
    whole = trained(tmp_path, max_steps=6, save_steps=2)
    damaged(tmp_path / "checkpoint-6" / name, how)
    resumed = tiny_trainer(tmp_path, max_steps=6, save_steps=2)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.seen == {step: seen for step, seen in whole.seen.items() if step >= 4}
    assert resumed.step_losses == {s: v for s, v in whole.step_losses.items() if s >= 4}
    if (name, how) == ("dids_state.json", "remove"):
        return  # then it was never finished, as far as can be told
    assert f"checkpoint-6/{name} is missing or damaged" in caplog.text
    assert damaged_file(tmp_path / "checkpoint-6") is None  # written anew


def test_a_checkpoint_that_was_asked_for_is_refused_if_damaged(tmp_path):
    trained(tmp_path, max_steps=4, save_steps=2)
    checkpoint = tmp_path / "checkpoint-2"
    damaged(checkpoint / "model.safetensors", "truncate")
    with pytest.raises(InputError, match=r"checkpoint-2/model.safetensors: .*before this one"):
        tiny_trainer(tmp_path, max_steps=4).train(resume_from_checkpoint=str(checkpoint))
    damaged(tmp_path / "checkpoint-4" / "optimizer.pt", "flip")
    with pytest.raises(InputError, match=r"checkpoint-4/optimizer.pt: .*before this one"):
        tiny_trainer(tmp_path, max_steps=4).train(resume_from_checkpoint=True)


def test_damaged_checkpoints_behind_the_one_that_is_used_are_removed(tmp_path, caplog):
    for step in (90, 100, 110):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        write_state(folder, {"step": step})
    damaged(tmp_path / "checkpoint-110" / "model.safetensors", "flip")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    assert not (tmp_path / "checkpoint-110").exists()
    assert caplog.text.count("is missing or damaged") == 1
    damaged(tmp_path / "checkpoint-100" / "model.safetensors", "remove")
    damaged(tmp_path / "checkpoint-90" / "dids_checksums.json", "truncate")
    assert newest_checkpoint(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
