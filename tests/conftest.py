"""Settings of the whole test suite: shapes checked at run time, hypothesis profile."""

import os

from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

install_import_hook("dids", "shape_checks.checked")

settings.register_profile(
    "dids",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("dids")
