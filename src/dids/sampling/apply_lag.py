"""How many steps ahead a new mixture must start, because data loaders read ahead."""


def apply_lag(num_workers: int, prefetch_factor: int | None, accumulation: int) -> int:
    """Steps between a decision and the first step that can follow it, however workers are timed.

    Accelerate's loader holds one micro-batch ahead, and every worker ``prefetch_factor`` of them.

    Args:
        num_workers: Of the data loader; 0 loads in the main process.
        prefetch_factor: Micro-batches that each worker fetches ahead; None is PyTorch's default of
            2.
        accumulation: Micro-batches of this rank in one optimizer step.

    Returns:
        ``ceil((1 + num_workers * prefetch_factor) / accumulation)``.

    Example:
        >>> apply_lag(0, None, 1), apply_lag(2, 2, 1), apply_lag(2, 2, 4)
        (1, 5, 2)
    """
    if num_workers < 0 or accumulation < 1:
        raise ValueError(
            f"num_workers must be 0 or more and accumulation 1 or more, "
            f"but they are {num_workers} and {accumulation}."
        )
    ahead = 1 + num_workers * (2 if prefetch_factor is None else prefetch_factor)
    return -(-ahead // accumulation)
