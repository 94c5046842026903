"""What a number can be traced to: commit, versions, hardware."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

# The keys of `provenance`.
PROVENANCE = ("commit", "uncommitted_changes", "versions", "hardware")
_PACKAGES = ("torch", "diffusers", "accelerate", "numpy", "scipy", "clean-fid", "scikit-learn")


def provenance() -> dict[str, Any]:
    """Return commit, package versions and hardware of the running process.

    Where PyTorch was never imported, there is no GPU in use and no number of its threads.
    """
    torch = sys.modules.get("torch")
    device = "cpu"
    if torch is not None and torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    return {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"python": platform.python_version(), "dansm": _version("dansm")}
        | {name: _version(name) for name in _PACKAGES},
        "hardware": {
            "device": device,
            "processor": processor_name(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "threads": None if torch is None else torch.get_num_threads(),
        },
    }


def processor_name() -> str:
    """Return the processor's name, where the system tells it, or else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
