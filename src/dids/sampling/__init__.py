"""Which samples every optimizer step trains on: a pure function of seed, step and mixture log."""

from dids.sampling.apply_lag import apply_lag
from dids.sampling.batch_sampler import MixtureBatchSampler
from dids.sampling.forecast import DomainForecast, forecast
from dids.sampling.loader import MixtureLoader
from dids.sampling.mixture_log import MixtureLog
from dids.sampling.sampler import MixtureSampler
from dids.sampling.usage import DomainUsage

__all__ = [
    "DomainForecast",
    "DomainUsage",
    "MixtureBatchSampler",
    "MixtureLoader",
    "MixtureLog",
    "MixtureSampler",
    "apply_lag",
    "forecast",
]
