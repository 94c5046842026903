"""Lines Matching (Matityahu and Fattal, 2024): the end of a teacher's line, from anywhere on it.

On pairs of a teacher the network predicts the data, and its error is measured by a distance: of the
numbers themselves, or of features. A discriminator that learns beside the network may join, as in
the authors' last rows: hinge losses, with the adaptive weight of VQGAN (Esser et al., 2021).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from dansm.errors import TrainingError
from dansm.processes.base import Network, Process, column
from dansm.processes.features import RandomFeatures
from dansm.processes.objective import Objective
from dansm.processes.times import TimeDistribution

_LEAST_WEIGHT, _MOST_WEIGHT = 0.01, 10.0


class LinesMatching(Objective):
    """The distance of predicted data from the pair's, and what a discriminator says of them.

    Parameters
    ----------
    channels
        Of samples.
    last_layer
        Weights of the network's last convolution, at which gradients are compared.
    images
        Returns so many images of the dataset, drawn from a stream.
    distance
        ``squared`` of the numbers, or ``random``: of features of a network of random weights, too.
    adversarial
        Whether a discriminator joins, which compares predicted data with real ones.
    """

    def __init__(
        self,
        process: Process,
        times: TimeDistribution,
        channels: int,
        last_layer: nn.Parameter,
        images: Callable[[int, torch.Generator], Tensor],
        distance: Literal["squared", "random"] = "squared",
        adversarial: bool = False,
    ) -> None:
        super().__init__(process, times, lambda prediction, target: prediction - target, True)
        self.last_layer = last_layer
        self.images = images
        if distance == "random":
            self.modules["features"] = RandomFeatures(channels)
        if adversarial:
            critic = Discriminator(channels)
            self.modules["discriminator"] = critic
            self.optimizers["discriminator"] = torch.optim.RAdam(
                critic.parameters(), lr=2e-3, betas=(0.5, 0.9)
            )
        self._seen: tuple[Tensor, Tensor] | None = None

    def loss(
        self, network: Network, samples: Tensor, noise: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return the loss; see `Objective.loss`."""
        times = self.process.draw_times(self.times, samples, stream)
        point = self.process.draw_point(samples, noise, times, stream)
        wrong = network(point.input, point.condition).float() - point.target
        data = samples + column(self.process.data_error(times).to(samples), samples) * wrong
        reconstruction = (data - samples).square().mean()
        if "features" in self.modules:
            features = self.modules["features"]
            reconstruction = (features(data) - features(samples)).square().mean()
        if "discriminator" not in self.modules:
            return reconstruction
        critic = self.modules["discriminator"]
        real = self.images(len(samples), stream).to(samples)
        self._seen = augmented(real, stream), augmented(data.detach(), stream)
        adversarial = -critic(augmented(data, stream)).mean()
        weight = adaptive_weight(reconstruction, adversarial, self.last_layer)
        return reconstruction + weight * adversarial

    def step(self, backward: Callable[[Tensor], None]) -> None:
        """Take a step of the discriminator; see `Objective.step`.

        Raises
        ------
        TrainingError
            If its loss is not finite.
        """
        if self._seen is None:
            return
        critic, optimizer = self.modules["discriminator"], self.optimizers["discriminator"]
        optimizer.zero_grad()
        loss = hinge(*map(critic, self._seen))
        if not bool(loss.isfinite()):
            raise TrainingError(f"the discriminator diverged: its loss is {float(loss)}")
        backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        self._seen = None


def hinge(real: Tensor, made: Tensor) -> Tensor:
    """Return the discriminator's loss, of its answers to real and generated images."""
    return (1 - real).relu().mean() + (1 + made).relu().mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, layer: nn.Parameter) -> Tensor:
    """Return the ratio of both losses' gradients at a layer, between 0.01 and 10.

    Esser et al. (2021), equation 7.
    """
    lengths = [
        torch.autograd.grad(loss, layer, retain_graph=True)[0].norm()
        for loss in (reconstruction, adversarial)
    ]
    return (lengths[0] / (lengths[1] + 1e-4)).clamp(_LEAST_WEIGHT, _MOST_WEIGHT).detach()


class Discriminator(nn.Module):
    """A small convolutional network, trained from scratch, that answers at every place.

    Parameters
    ----------
    channels
        Of images.
    """

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        normed = nn.utils.parametrizations.spectral_norm
        self.layers = nn.Sequential(
            normed(nn.Conv2d(channels, width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            normed(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            normed(nn.Conv2d(2 * width, 2 * width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return answers to images (n, channels, height, width), shape (n, 1, h, w)."""
        return self.layers(images.float())


def augmented(images: Tensor, stream: torch.Generator) -> Tensor:
    """Return images with random brightness, contrast, place and a hole, differentiably.

    DiffAugment (Zhao et al., 2020): translation by up to an eighth, a hole of a fifth of the side.
    """
    count, _, height, width = images.shape

    def uniform(low: float, high: float) -> Tensor:
        drawn = low + (high - low) * torch.rand(count, generator=stream)
        return column(drawn.to(images), images)

    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * uniform(0.5, 1.5) + mean + uniform(-0.5, 0.5)
    # Whole pixels, so that nothing is smoothed.
    down, right = torch.arange(height), torch.arange(width)
    rows, columns = (
        places + torch.randint(-reach, reach + 1, (count, 1), generator=stream)
        for places, reach in ((down, max(1, height // 8)), (right, max(1, width // 8)))
    )
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
        :, None
    ]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    place = (rows[:, :, None] * width + columns[:, None]).flatten(1).to(images.device)
    index = place[:, None].expand(-1, images.shape[1], -1)
    images = images.flatten(2).gather(2, index).reshape(images.shape)
    tall, wide = max(1, height // 5), max(1, width // 5)
    top = torch.randint(0, height - tall + 1, (count, 1), generator=stream)
    left = torch.randint(0, width - wide + 1, (count, 1), generator=stream)
    hole = ((down >= top) & (down < top + tall))[:, :, None] & (
        (right >= left) & (right < left + wide)
    )[:, None]
    return images * (inside & ~hole)[:, None].to(images)
