"""A run is one process on one GPU, however many there are to see."""

from transformers import TrainingArguments

from dids.training.train import trainer_arguments


def test_a_process_that_sees_two_gpus_does_not_divide_its_batches(tmp_path, monkeypatch):
    made = TrainingArguments.__post_init__

    def with_two_gpus(self):
        made(self)
        self._n_gpu = 2

    monkeypatch.setattr(TrainingArguments, "__post_init__", with_two_gpus)
    assert TrainingArguments(output_dir=str(tmp_path)).n_gpu == 2
    settings = trainer_arguments(tmp_path, {"per_device_train_batch_size": 4}, seed=0)
    assert settings.n_gpu == 1
    assert settings.train_batch_size == 4
