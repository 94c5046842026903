"""What a number can be traced to: commit, versions, hardware."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).parents[3]
_PACKAGES = ("torch", "diffusers", "accelerate", "numpy", "scipy", "clean-fid", "scikit-learn")


def provenance() -> dict[str, Any]:
    """Return commit, package versions and hardware of the running process.

    Where PyTorch was never imported, there is no GPU in use and no number of its threads. What is
    not known is None, as the commit of a copy that is in no repository, or in another project's.
    """
    torch = sys.modules.get("torch")
    device = "cpu"
    if torch is not None and torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    top = _git("rev-parse", "--show-toplevel")
    ours = top is not None and Path(top).resolve() == _PROJECT.resolve()
    changes = _git("status", "--porcelain", "--untracked-files=no") if ours else None
    return {
        "commit": _git("rev-parse", "HEAD") if ours else None,
        "uncommitted_changes": None if changes is None else bool(changes),
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
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
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
    # A surrounding command of git, such as a hook, must not tell of its own repository.
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=_PROJECT, env=own, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return os.fsdecode(done.stdout).strip()
