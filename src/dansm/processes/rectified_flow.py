"""Rectified flow in the paper's convention: noise z at t = 0, data x at t = 1.

``x_t = t x + (1 − t) z``; the network regresses the velocity ``x − z`` and is conditioned on
``999 t`` (Liu et al., 2022; paper, section 2).
"""

import torch
from torch import Tensor

from dansm.processes.base import Counted, Network, Sampled, check_sampler
from dansm.processes.solvers import euler, heun, rk45

TIME_SCALE = 999.0


class RectifiedFlow:
    """Loss and samplers of rectified flow.

    Parameters
    ----------
    epsilon
        Smallest time: ``t ~ U(ε, 1)``.
    """

    samplers = ("euler", "heun", "rk45")

    def __init__(self, epsilon: float = 1e-3) -> None:
        self.epsilon = epsilon

    def loss(
        self, network: Network, samples: Tensor, noise: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return ``E ‖network(x_t, 999 t) − (x − z)‖²`` per dimension; see `Process.loss`."""
        uniform = torch.rand(len(samples), generator=stream).to(samples)
        times = self.epsilon + (1 - self.epsilon) * uniform
        return self.squared_errors(network, samples, noise, times).mean()

    def squared_errors(
        self, network: Network, samples: Tensor, noise: Tensor, times: Tensor
    ) -> Tensor:
        """Return those of the velocity at times in [ε, 1]; see `Process.squared_errors`."""
        t = times.reshape(-1, *[1] * (samples.ndim - 1))
        prediction = network(t * samples + (1 - t) * noise, TIME_SCALE * times)
        return (prediction.float() - (samples - noise)).square()

    def sample(self, network: Network, noise: Tensor, sampler: str, steps: int) -> Sampled:
        """Integrate the velocity from noise to data; see `Process.sample`.

        Euler is the paper's: ``t_i = ε + (1 − ε) i/N`` and ``x ← x + v(x, 999 t_i)/N``. Heun and
        RK45 integrate from ε to 1.
        """
        check_sampler(sampler, self.samplers)
        if sampler != "rk45" and steps < 1:
            raise ValueError(f"steps: expected at least 1, found {steps}")
        counted = Counted(network)

        def velocity(points: Tensor, time: float) -> Tensor:
            return counted(points, TIME_SCALE * time)

        grid = [self.epsilon + (1 - self.epsilon) * i / max(steps, 1) for i in range(steps + 1)]
        if sampler == "euler":
            samples = euler(velocity, noise, grid[:-1], [1 / steps] * steps)
        elif sampler == "heun":
            samples = heun(velocity, noise, grid)
        else:
            samples = rk45(velocity, noise, self.epsilon, 1.0)
        return Sampled(samples, counted.calls)
