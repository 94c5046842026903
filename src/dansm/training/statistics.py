"""Statistics of training, the lines of ``stats.jsonl``."""

import resource
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class RecentSteps:
    """Losses, gradient norms and waiting time since the last line of ``stats.jsonl``.

    Losses and norms stay on the device until they are read.
    """

    losses: list[Tensor] = field(default_factory=list)
    gradient_norms: list[Tensor] = field(default_factory=list)
    pairing_seconds: float = 0.0  # of the thread that loads and matches
    waiting_seconds: float = 0.0  # of training, for pairs
    started: float = field(default_factory=time.perf_counter)

    def values(self) -> tuple[list[float], list[float]]:
        """Return losses and gradient norms."""
        losses, norms = self.losses, self.gradient_norms
        return (torch.stack(losses).tolist(), torch.stack(norms).tolist()) if losses else ([], [])

    def speeds(self, batch_size: int) -> dict[str, float]:
        """Return speed, waiting times and memory, with their names in ``stats.jsonl``."""
        count = len(self.losses)
        return {
            "images_per_second": count * batch_size / (time.perf_counter() - self.started),
            "pairing_ms_per_batch": 1000 * self.pairing_seconds / count,
            "waiting_ms_per_batch": 1000 * self.waiting_seconds / count,
            "peak_memory_mib": peak_memory() / 2**20,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, for a state that is saved between two lines."""
        losses, norms = self.values()
        return {
            "losses": losses,
            "gradient_norms": norms,
            "pairing_seconds": self.pairing_seconds,
            "waiting_seconds": self.waiting_seconds,
            "seconds": time.perf_counter() - self.started,
        }

    @classmethod
    def of_state(cls, state: dict[str, Any], device: torch.device) -> "RecentSteps":
        """Return the steps that `state_dict` described."""
        return cls(
            losses=list(torch.tensor(state["losses"], device=device)),
            gradient_norms=list(torch.tensor(state["gradient_norms"], device=device)),
            pairing_seconds=state["pairing_seconds"],
            waiting_seconds=state["waiting_seconds"],
            started=time.perf_counter() - state["seconds"],
        )


def peak_memory() -> int:
    """Return peak memory in bytes: the GPU's where one is used, the process's otherwise."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
