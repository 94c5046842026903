"""Diffusion (Ho et al., 2020) with deterministic DDIM sampling (Song et al., 2021, η = 0)."""

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from dansm.processes.base import Conditioned, Numbers, Point, Process, beside, column
from dansm.processes.grids import time_index
from dansm.processes.registry import PROCESSES
from dansm.processes.times import TimeDistribution


class Diffusion(Process):
    """Linear β from 1e-4 to 0.02 over T = 1000 times; the network predicts the noise.

    ``x_t = √ᾱ_t x + √(1 − ᾱ_t) z`` for t = 0 … T − 1.

    Its differential equation is ``dy/dσ = z(x, t)`` for ``y = x/√ᾱ``, ``σ = √(1 − ᾱ)/√ᾱ`` (Song et
    al., 2021, equation 14). Between discrete times, where adaptive solvers go, t is interpolated
    linearly over log σ. On clean data, σ = 0, the network is not defined: the last step of every
    solver follows its first velocity.
    """

    name = "diffusion"
    times = PROCESSES["diffusion"].times
    last = 1 - Fraction(1, times)

    def __init__(self) -> None:
        betas = torch.linspace(1e-4, 0.02, self.times, dtype=torch.float64)
        self.alphas_bar = torch.cumprod(1 - betas, dim=0)
        self._log_sigmas = (0.5 * ((1 - self.alphas_bar).log() - self.alphas_bar.log())).numpy()

    def draw_times(
        self, distribution: TimeDistribution, samples: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return t in 0 … T − 1, int64, on the CPU."""
        return distribution.draw_index(len(samples), self.times, stream)

    def point(self, samples: Tensor, noise: Tensor, times: Tensor) -> Point:
        """Return ``x_t``, t and the noise."""
        alpha = column(self.alphas_bar[times].to(samples), samples)
        points = alpha.sqrt() * samples + (1 - alpha).sqrt() * noise
        return Point(points, times.to(samples), noise)

    def data_error(self, times: Tensor) -> Tensor:
        """Return ``−√(1 − ᾱ_t)/√ᾱ_t``."""
        alpha = self.alphas_bar[times.cpu()]
        return -((1 - alpha) / alpha).sqrt()

    def coordinate(self, time: Fraction) -> float:
        """Return σ of the nearest discrete time; 0 of time 1."""
        index = time_index(time, self.times)
        return float(np.exp(self._log_sigmas[index])) if index >= 0 else 0.0

    def path(self, coordinate: float) -> tuple[float, float]:
        """Return 1 and σ."""
        return 1.0, coordinate

    def start(self, noise: Tensor, time: Fraction) -> Tensor:
        """Return noise over √ᾱ."""
        return noise * (1 + self.coordinate(time) ** 2) ** 0.5

    def to_noise(self, points: Tensor, time: Fraction) -> Tensor:
        """Return y times √ᾱ."""
        return points / (1 + self.coordinate(time) ** 2) ** 0.5

    def velocity(self, network: Conditioned, points: Tensor, coordinate: Numbers) -> Tensor:
        """Return the noise that the network predicts at σ."""
        condition = np.interp(
            np.log(coordinate), self._log_sigmas, np.arange(self.times, dtype=float)
        )
        return network(points / beside((1 + coordinate**2) ** 0.5, points), condition)

    def euler(
        self, network: Conditioned, points: Tensor, time: Fraction, following: Fraction
    ) -> Tensor:
        """Return a step of DDIM (Song et al., 2021, equation 12); after time 1 comes ᾱ = 1."""
        index, after = time_index(time, self.times), time_index(following, self.times)
        alpha = float(self.alphas_bar[index])
        alpha_next = float(self.alphas_bar[after]) if after >= 0 else 1.0
        predicted_noise = network(points, float(index))
        clean = (points - (1 - alpha) ** 0.5 * predicted_noise) / alpha**0.5
        return alpha_next**0.5 * clean + (1 - alpha_next) ** 0.5 * predicted_noise
