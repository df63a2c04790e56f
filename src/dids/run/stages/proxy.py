"""Stage three: the proxy, warmed up on a uniform draw where it has no trained weights.

One process warms it up, on as many samples a step as all train on: the features are then the same
to the last bit whatever the number of processes.
"""

from typing import Any

import numpy as np

from dids.config.batch import arguments_of_first_rank
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import make_policy
from dids.run.workspace import Workspace
from dids.training.domain_data import DomainData
from dids.training.train import train_model


def run(work: Workspace) -> dict[str, Any]:
    """Write ``proxy/model`` and, after a warm-up, the optimizer's second moments beside it."""
    config = work.config
    model = work.new_model(config.proxy_model)
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
