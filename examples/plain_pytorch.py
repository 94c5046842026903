"""Matching in a plain PyTorch loop, by a worker of its loader: rectified flow on digits.

The network is trained twice, with random and with matched noise. The lines marked DANSM are all
that matching adds; in the loop, the noise comes with the images.
"""

import argparse
from functools import partial

import torch
from digits import Run, compare, digits, starting_noise
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from dansm.couplings import MatchingCollate, make_coupling  # DANSM


class Velocity(nn.Module):
    """A small network: points (n, 1, 8, 8) and times (n,) to velocities."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(65, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 64),
        )

    def forward(self, points: Tensor, times: Tensor) -> Tensor:
        """Return the velocities."""
        inputs = torch.cat([points.flatten(1), times[:, None]], dim=1)
        return self.layers(inputs).reshape(points.shape)


def train(run: Run, name: str, match_size: int) -> Tensor:
    """Train a network, and return its samples after 3 Euler steps."""
    torch.manual_seed(0)
    model = Velocity()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(
        digits(),
        batch_size=128,
        shuffle=True,
        drop_last=True,
        num_workers=1,
        persistent_workers=True,  # with them the pool lives on
        collate_fn=MatchingCollate(partial(make_coupling, name, match_size=match_size)),  # DANSM
    )
    for images, noise in run.batches(loader):  # DANSM, instead of torch.randn_like(images)
        times = torch.rand(len(images))
        t = times[:, None, None, None]
        velocity = model(t * images + (1 - t) * noise, times)
        loss = (velocity - (images - noise)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(model)
        run.saw(images - noise, loss)
    points = starting_noise()
    with torch.no_grad():
        for step in range(3):
            points = points + average(points, torch.full((len(points),), step / 3)) / 3
    return points


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=800, help="training steps of each run")
    steps = parser.parse_args().steps
    random, matched = Run("random", steps), Run("matched", steps)
    compare({random: train(random, "independent", 0), matched: train(matched, "greedy", 1000)})
