"""Checks the shapes and types of every annotated function while the tests run."""

import os

from beartype import BeartypeConf
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

BEARTYPE_CONF = BeartypeConf(is_pep484_tower=True)
install_import_hook("dids", "beartype.beartype")

settings.register_profile(
    "dids",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("dids")
