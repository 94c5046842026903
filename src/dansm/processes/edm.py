"""EDM (Karras et al., 2022): denoising at noise levels σ, with preconditioned networks.

The network F makes the denoiser ``D(y; σ) = c_skip y + c_out F(c_in y; c_noise)`` of points
``y = x + σ z``, with the paper's table 1 for all four.
"""

from fractions import Fraction

import numpy as np
import torch
from scipy.special import betaincinv, gammainc, gammaincc
from torch import Tensor

from dansm.processes.base import Conditioned, Network, Numbers, Point, Process, beside, column
from dansm.processes.grids import HIGHEST_NOISE, LOWEST_NOISE, noise_level, noise_time
from dansm.processes.rectified_flow import TIME_SCALE
from dansm.processes.times import TimeDistribution

# Networks embed times that go to 1000; EDM's c_noise, ln(σ)/4, goes from -1.6 to 1.1.
CONDITION_SCALE = 1000 / 4


class EDM(Process):
    """Noise levels from 80 to 0, ``dy/dσ = (y − D(y; σ))/σ``; see `dansm.processes.base.Process`.

    Its times are those of a flow whose line ``t x + (1 − t) z`` is as noisy: σ = (1 − t)/t.
    Sampling's go from t = 1/81, where σ = 80, to 1, see `dansm.processes.grids.noise_level`.
    Training takes t as it is drawn, σ being at most 80, so that the times ``log_normal`` are the
    paper's.

    On clean data, σ = 0, the network is not defined: the last step of every solver follows its
    first velocity, as published.

    Parameters
    ----------
    sigma_data
        Standard deviation of the samples, `dansm.data.store.Store.deviation`.
    augmented
        Number of augmented dimensions D of PFGM++ (Xu et al., 2023), in which a noise keeps its
        direction and its rank by length, but has the length of a point on the sphere whose radius
        follows from ``R² = σ² D B/(1 − B)``, B ~ Beta(N/2, D/2), N the dimension. None: EDM, the
        limit of all D.
    """

    name = "edm"
    last = noise_time(LOWEST_NOISE)

    def __init__(self, sigma_data: float = 0.5, augmented: int | None = None) -> None:
        self.sigma_data = sigma_data
        self.augmented = augmented

    def draw_times(
        self, distribution: TimeDistribution, samples: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return noise levels σ, of the samples' dtype and device."""
        t = distribution.draw(len(samples), stream).double()
        return ((1 - t) / t).clamp(max=float(HIGHEST_NOISE)).to(samples)

    def point(self, samples: Tensor, noise: Tensor, times: Tensor) -> Point:
        """Return ``c_in y``, 1000 c_noise and ``(x − c_skip y)/c_out``, which has unit variance.

        The paper's weight of ``|D − x|²``, ``1/c_out²``, makes it the error of F itself.
        """
        sigma = column(times, samples)
        scale = (sigma**2 + self.sigma_data**2).sqrt()
        noise = self.noise(noise)
        # (x − c_skip y)/c_out without a difference of nearly equal numbers where σ is small.
        target = (sigma / self.sigma_data * samples - self.sigma_data * noise) / scale
        return Point((samples + sigma * noise) / scale, CONDITION_SCALE * times.log(), target)

    def data_error(self, times: Tensor) -> Tensor:
        """Return c_out."""
        return times * self.sigma_data / (times**2 + self.sigma_data**2).sqrt()

    def noise(self, noise: Tensor) -> Tensor:
        """Return the noise itself, or PFGM++'s; see `EDM`."""
        if self.augmented is None:
            return noise
        lengths = noise.flatten(1).norm(dim=1)
        longer = _augmented_length(lengths.double().cpu().numpy(), noise[0].numel(), self.augmented)
        factor = torch.from_numpy(longer).to(noise) / lengths
        return noise * column(factor, noise)

    def coordinate(self, time: Fraction) -> float:
        """Return σ, from 80 to 0."""
        return float(noise_level(time))

    def path(self, coordinate: float) -> tuple[float, float]:
        """Return 1 and σ."""
        return 1.0, coordinate

    def begin(self, noise: Tensor, time: Fraction) -> Tensor:
        """Return σ times the noise."""
        return self.coordinate(time) * self.noise(noise)

    def to_noise(self, points: Tensor, time: Fraction) -> Tensor:
        """Return y/σ, PFGM++'s noise itself."""
        return points / self.coordinate(time)

    def velocity(self, network: Conditioned, points: Tensor, coordinate: Numbers) -> Tensor:
        """Return the noise that the network predicts at σ, ``(y − D)/σ``."""
        scale = (coordinate**2 + self.sigma_data**2) ** 0.5
        condition = CONDITION_SCALE * np.log(coordinate)
        predicted = network(points / beside(scale, points), condition)
        skipped = beside(coordinate / scale**2, points) * points
        return skipped - beside(self.sigma_data / scale, points) * predicted


def _augmented_length(lengths: np.ndarray, dimension: int, augmented: int) -> np.ndarray:
    """Return the lengths of PFGM++'s noise, R/σ, of the ranks of Gaussian noise's lengths.

    Each tail is reckoned from its own end, since a rank near 1 has no digits left.
    """
    half, squares = dimension / 2, lengths**2 / 2
    lower = betaincinv(half, augmented / 2, gammainc(half, squares))
    # B/(1 − B) of the upper tail, where 1 − B ~ Beta(D/2, N/2) has the same rank from below.
    upper = betaincinv(augmented / 2, half, gammaincc(half, squares))
    ratio = np.where(squares < half, lower / (1 - lower), (1 - upper) / upper)
    return np.sqrt(augmented * ratio)


def flow_of_edm(process: EDM, network: Network) -> Network:
    """Return the velocity of a rectified flow, of x_t and 999 t < 999, of an EDM network.

    ``x_t = t y`` at σ = (1 − t)/t, and the flow's velocity ``data − noise`` is ``D − (y − D)/σ``.
    """

    def velocity(points: Tensor, condition: Tensor) -> Tensor:
        t = column((condition / TIME_SCALE).to(points), points)
        sigma, y = (1 - t) / t, points / t
        scale = (sigma**2 + process.sigma_data**2).sqrt()
        levels = CONDITION_SCALE * sigma.flatten().log().to(condition)
        predicted = network(y / scale, levels)
        noise = sigma / scale**2 * y - process.sigma_data / scale * predicted
        return y - (1 + sigma) * noise

    return velocity


def edm_of_flow(process: EDM, network: Network) -> Network:
    """Return the network F of EDM of a rectified flow's velocity, the inverse of `flow_of_edm`."""

    def predicted(inputs: Tensor, condition: Tensor) -> Tensor:
        sigma = column((condition / CONDITION_SCALE).exp().to(inputs), inputs)
        scale, t = (sigma**2 + process.sigma_data**2).sqrt(), 1 / (1 + sigma)
        y = inputs * scale
        velocity = network(t * y, (TIME_SCALE * t.flatten()).to(condition))
        noise = t * (y - velocity)
        return (sigma / scale**2 * y - noise) * scale / process.sigma_data

    return predicted
