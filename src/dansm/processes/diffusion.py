"""Diffusion (Ho et al., 2020) with deterministic DDIM sampling (Song et al., 2021, η = 0)."""

import torch
from torch import Tensor

from dansm.processes.registry import PROCESSES
from dansm.processes.base import Counted, Network, Sampled, check_sampler


class Diffusion:
    """Linear β from 1e-4 to 0.02 over T = 1000 times; the network predicts the noise.

    ``x_t = √ᾱ_t x + √(1 − ᾱ_t) z`` for t = 0 … T − 1.
    """

    samplers = ("ddim_original", "ddim_trailing")

    def __init__(
        self,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        times: int = PROCESSES["diffusion"].times,
    ) -> None:
        betas = torch.linspace(beta_start, beta_end, times, dtype=torch.float64)
        self.times = times
        self.alphas_bar = torch.cumprod(1 - betas, dim=0)

    def loss(
        self, network: Network, samples: Tensor, noise: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return ``E ‖network(x_t, t) − z‖²`` per dimension; see `Process.loss`."""
        times = torch.randint(self.times, (len(samples),), generator=stream)
        return self.squared_errors(network, samples, noise, times).mean()

    def squared_errors(
        self, network: Network, samples: Tensor, noise: Tensor, times: Tensor
    ) -> Tensor:
        """Return those of the noise at times 0 … T − 1, int64; see `Process.squared_errors`."""
        alpha = self.alphas_bar[times].to(samples).reshape(-1, *[1] * (samples.ndim - 1))
        points = alpha.sqrt() * samples + (1 - alpha).sqrt() * noise
        prediction = network(points, times.to(samples))
        return (prediction.float() - noise).square()

    def timesteps(self, sampler: str, steps: int) -> list[int]:
        """Return the times at which the network is evaluated, from noisy to clean.

        ``ddim_original`` is the spacing of DDIM's published code, ``range(0, T, T // N)``: it may
        hold more than N times (999, 666, 333, 0 for N = 3) and may start below T − 1 on what is
        then taken for pure noise. ``ddim_trailing`` holds N times and starts at T − 1 (Lin et al.,
        2024, table 2).
        """
        check_sampler(sampler, self.samplers)
        if not 1 <= steps <= self.times:
            raise ValueError(f"steps: expected 1 to {self.times}, found {steps}")
        if sampler == "ddim_original":
            return list(range(0, self.times, self.times // steps))[::-1]
        return [round(self.times * k / steps) - 1 for k in range(steps, 0, -1)]

    def sample(self, network: Network, noise: Tensor, sampler: str, steps: int) -> Sampled:
        """Run DDIM from noise to data (Song et al., 2021, equation 12); see `Process.sample`."""
        times = self.timesteps(sampler, steps)
        counted = Counted(network)
        points = noise
        for time, following in zip(times, [*times[1:], None], strict=True):
            alpha = float(self.alphas_bar[time])
            # After the last time comes clean data, ᾱ = 1.
            alpha_next = 1.0 if following is None else float(self.alphas_bar[following])
            predicted_noise = counted(points, float(time))
            clean = (points - (1 - alpha) ** 0.5 * predicted_noise) / alpha**0.5
            points = alpha_next**0.5 * clean + (1 - alpha_next) ** 0.5 * predicted_noise
        return Sampled(points, counted.calls)
