"""Diffusion (Ho et al., 2020) with deterministic DDIM sampling (Song et al., 2021, η = 0)."""

import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from dansm.errors import InputError
from dansm.processes.base import Conditioned, Numbers, Point, Process, beside, column
from dansm.processes.grids import time_index
from dansm.processes.registry import PROCESSES
from dansm.processes.times import TimeDistribution

_SHIFT = 0.008  # of the cosine schedule


class Diffusion(Process):
    """Noise is added over T = 1000 times: ``x_t = √ᾱ_t x + √(1 − ᾱ_t) z`` for t = 0 … T − 1.

    Its differential equation is ``dy/dσ = z(x, t)`` for ``y = x/√ᾱ``, ``σ = √(1 − ᾱ)/√ᾱ`` (Song et
    al., 2021, equation 14). Between discrete times, where adaptive solvers go, t is interpolated
    linearly over log σ. On clean data, σ = 0, the network is not defined: the last step of every
    solver follows its first velocity. With ``zero_snr`` σ has no end at the first time, which DDIM
    alone can begin at.

    Parameters
    ----------
    schedule
        ``linear``: β from 1e-4 to 0.02; ``cosine``: β of a squared cosine ᾱ, at most 0.999 (Nichol
        and Dhariwal, 2021, equation 17).
    zero_snr
        Stretch √ᾱ so that nothing of the data is left at the last time and the first stays as it
        is (Lin et al., 2024, algorithm 1).
    prediction
        What the network answers: ``noise``, ``velocity``, ``√ᾱ z − √(1 − ᾱ) x`` (Salimans and Ho,
        2022), or ``data``.
    weighting
        Of the squared error over time: that which ``noise_loss``, ``velocity_loss`` or
        ``data_loss`` has of the predicted data, ᾱ/(1 − ᾱ), 1/(1 − ᾱ) or 1. None is the
        prediction's own.
    """

    name = "diffusion"
    times = PROCESSES["diffusion"].times
    last = 1 - Fraction(1, times)

    def __init__(
        self,
        schedule: str = "linear",
        zero_snr: bool = False,
        prediction: str = "noise",
        weighting: str | None = None,
    ) -> None:
        self.prediction = prediction
        betas = torch.linspace(1e-4, 0.02, self.times, dtype=torch.float64)
        if schedule == "cosine":
            parts = torch.linspace(0, 1, self.times + 1, dtype=torch.float64)
            curve = ((parts + _SHIFT) / (1 + _SHIFT) * math.pi / 2).cos().square()
            betas = (1 - curve[1:] / curve[:-1]).clamp(max=0.999)
        self.alphas_bar = torch.cumprod(1 - betas, dim=0)
        if zero_snr:
            roots = self.alphas_bar.sqrt()
            first, last = roots[0].clone(), roots[-1].clone()
            self.alphas_bar = ((roots - last) * first / (first - last)).square()
        rest = 1 - self.alphas_bar
        self._log_sigmas = (0.5 * (rest.log() - self.alphas_bar.log())).numpy()
        # At given points an error of the data is so much larger, squared, in noise and velocity.
        weights = {
            "noise": self.alphas_bar / rest,
            "velocity": 1 / rest,
            "data": torch.ones_like(rest),
        }
        wanted = (weighting or prediction).removesuffix("_loss")
        own = wanted == prediction
        self._weights = None if own else weights[wanted] / weights[prediction]

    def draw_times(
        self, distribution: TimeDistribution, samples: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return t in 0 … T − 1, int64, on the CPU."""
        return distribution.draw_index(len(samples), self.times, stream)

    def point(self, samples: Tensor, noise: Tensor, times: Tensor) -> Point:
        """Return ``x_t``, t and what the network is to predict."""
        alpha = column(self.alphas_bar[times].to(samples), samples)
        points = alpha.sqrt() * samples + (1 - alpha).sqrt() * noise
        target = {"noise": noise, "data": samples}.get(self.prediction)
        if target is None:
            target = alpha.sqrt() * noise - (1 - alpha).sqrt() * samples
        weights = None if self._weights is None else self._weights[times].to(samples)
        return Point(points, times.to(samples), target, weights)

    def data_error(self, times: Tensor) -> Tensor:
        """Return ``−√(1 − ᾱ_t)/√ᾱ_t`` of noise, ``−√(1 − ᾱ_t)`` of velocity and 1 of data."""
        alpha = self.alphas_bar[times.cpu()]
        if self.prediction == "data":
            return torch.ones_like(alpha)
        sigma = (1 - alpha).sqrt()
        return -sigma / alpha.sqrt() if self.prediction == "noise" else -sigma

    def coordinate(self, time: Fraction) -> float:
        """Return σ of the nearest discrete time; 0 of time 1.

        Raises
        ------
        InputError
            If σ has no end there.
        """
        index = time_index(time, self.times)
        if index < 0:
            return 0.0
        if self.alphas_bar[index] == 0:
            raise InputError("diffusion with zero_snr: expected the solver euler, found another")
        return float(np.exp(self._log_sigmas[index]))

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
        """Return the noise that the network's answer means at σ."""
        condition = np.interp(
            np.log(coordinate), self._log_sigmas, np.arange(self.times, dtype=float)
        )
        root = beside((1 + coordinate**2) ** 0.5, points)
        sigma = beside(coordinate, points) / root
        points = points / root
        return self._parts(network(points, condition), points, 1 / root, sigma)[1]

    def euler(
        self, network: Conditioned, points: Tensor, time: Fraction, following: Fraction
    ) -> Tensor:
        """Return a step of DDIM (Song et al., 2021, equation 12); after time 1 comes ᾱ = 1."""
        index, after = time_index(time, self.times), time_index(following, self.times)
        alpha = float(self.alphas_bar[index])
        alpha_next = float(self.alphas_bar[after]) if after >= 0 else 1.0
        found = network(points, float(index))
        clean, noise = self._parts(found, points, alpha**0.5, (1 - alpha) ** 0.5)
        return alpha_next**0.5 * clean + (1 - alpha_next) ** 0.5 * noise

    def _parts(
        self, found: Tensor, points: Tensor, root: float | Tensor, sigma: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the data and the noise that an answer means at points ``root x + sigma z``."""
        if self.prediction == "noise":
            return (points - sigma * found) / root, found
        if self.prediction == "data":
            return found, (points - root * found) / sigma
        return root * points - sigma * found, sigma * points + root * found
