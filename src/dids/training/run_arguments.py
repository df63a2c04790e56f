"""What a mixture asks of a run: of ``TrainingArguments``, or of a loop of one's own."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class RunArguments(Protocol):
    """The attributes of ``transformers.TrainingArguments`` that are read, with their meanings."""

    output_dir: Any
    max_steps: int
    gradient_accumulation_steps: int
    dataloader_num_workers: int
    dataloader_prefetch_factor: int | None
    dataloader_pin_memory: bool
    ignore_data_skip: bool
    save_total_limit: int | None
    seed: int
    data_seed: int | None
    deepspeed: Any

    @property
    def train_batch_size(self) -> int:
        """Samples of a batch of one process, however many devices it has."""

    @property
    def world_size(self) -> int:
        """Processes that divide a step."""
