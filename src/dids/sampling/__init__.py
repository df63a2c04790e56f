"""Which samples every optimizer step trains on: a pure function of seed, step and mixture log."""

from dids.sampling.apply_lag import apply_lag
from dids.sampling.batch_sampler import MixtureBatchSampler
from dids.sampling.forecast import DomainForecast, forecast
from dids.sampling.mixture_log import MixtureLog
from dids.sampling.sampler import MixtureSampler

__all__ = [
    "DomainForecast",
    "MixtureBatchSampler",
    "MixtureLog",
    "MixtureSampler",
    "apply_lag",
    "forecast",
]
