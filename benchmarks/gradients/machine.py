"""What the numbers depend on besides the code."""

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

from dids import __version__

PACKAGES = (
    "torch", "transformers", "numpy", "bergson", "dattri", "traker", "opacus", "kronfluence",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Python and the packages that are installed."""
    installed = {
        str(distribution.metadata["Name"]).lower(): distribution.version
        for distribution in metadata.distributions()
    }
    known = {package: installed[package] for package in PACKAGES if package in installed}
    return {"python": platform.python_version(), "dids": __version__, **known}


def machine(device: torch.device) -> dict[str, str | int]:
    """Processor or GPU, cores, and what bfloat16 runs on."""
    described: dict[str, str | int] = {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
    }
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def load() -> float | None:
    """How many processes wanted to run over the last minutes, where the system tells."""
    return round(os.getloadavg()[1], 1) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    extras = [flag for flag in ("avx512f", "amx_bf16") if flag in flags.split()]
    return ", ".join([names[0] if names else platform.processor(), *extras])
