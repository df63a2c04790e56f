"""Stage three: the proxy, warmed up on a uniform draw where it has no trained weights.

One process warms it up, on as many samples a step as all train on: the features are then the same
to the last bit whatever the number of processes.
"""

from typing import Any

import numpy as np
from torch import nn

from dids.config.batch import arguments_of_first_rank
from dids.errors import InputError
from dids.gradients import covered_parameters
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import make_policy
from dids.run.workspace import Workspace
from dids.training.domain_data import DomainData
from dids.training.train import train_model

_MOSTLY = 0.9
"""Of the trainable entries; where gradients hold fewer, that is said."""


def run(work: Workspace) -> dict[str, Any]:
    """Write ``proxy/model`` and, after a warm-up, the optimizer's second moments beside it."""
    config = work.config
    model = work.new_model(config.proxy_model)
    left_out = left_out_sentence(model)
    if left_out is not None:
        work.progress.say(left_out)
    folder = work.path("proxy")
    if config.warmup_steps == 0:
        model.save_pretrained(folder / "model")
        return {"warmup_steps": 0}
    dataset = work.dataset
    num_sources = len(work.source_stores)
    members = [np.flatnonzero(dataset.source_of_sample == s) for s in range(num_sources)]
    uniform = np.full(num_sources, 1.0 / num_sources)
    with work.progress.bar("warming up the proxy", 1.0) as advance:
        trained = train_model(
            folder,
            model=model,
            tokenizer=work.tokenizer,
            data=DomainData(dataset, list(work.sources), members, [None] * num_sources),
            policy=make_policy("uniform"),
            limits=MixtureLimits(lower_k=np.zeros(num_sources), upper_k=np.ones(num_sources)),
            prior=uniform,
            seed=config.seed,
            arguments=arguments_of_first_rank(config, work.ranks.num),
            num_steps=config.warmup_steps,
            on_step=advance,
            stop=work.stop,
        )
    losses = [loss for _, loss in trained.history.training_losses]
    return {"warmup_steps": config.warmup_steps, "training_losses": losses}


def left_out_sentence(model: nn.Module) -> str | None:
    """What features and impact leave out of a model, where it is more than a little.

    Args:
        model: The proxy.

    Returns:
        One sentence; None where they read nearly all of it, or nothing, which is refused later
        where it is needed.
    """
    try:
        covered = covered_parameters(model)
    except InputError:
        return None
    trainable = {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    num_all, num_covered = sum(trainable.values()), sum(trainable[name] for name in covered)
    if num_covered >= _MOSTLY * num_all:
        return None
    others = {name: num for name, num in trainable.items() if name not in covered}
    largest = max(others, key=lambda name: others[name])
    return (
        f"Features and impact see {100 * num_covered // num_all} % of the proxy's trainable "
        "entries: gradients by sample are not known for the others, of which the largest are "
        f"{largest} ({others[largest]:,} entries)."
    )
