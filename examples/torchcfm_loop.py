"""Matching in a torchcfm loop, which stays as it is: its flow matcher is given a coupling.

The network is trained twice, with random and with matched noise. The lines marked DANSM are all
that matching adds.
"""

import argparse

import torch
from digits import Run, compare, digits, starting_noise
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
from torchcfm.models.models import MLP

from dansm.couplings import MatchedFlowMatcher, make_coupling  # DANSM


def train(run: Run, name: str, match_size: int) -> Tensor:
    """Train a network, and return its samples after 3 Euler steps."""
    torch.manual_seed(0)
    model = MLP(dim=64, w=256, time_varying=True)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    matcher = ConditionalFlowMatcher(sigma=0.0)
    coupling = make_coupling(name, match_size=match_size, seed=0)  # DANSM
    matcher = MatchedFlowMatcher(matcher, coupling)  # DANSM
    loader = DataLoader(digits().flatten(1), batch_size=128, shuffle=True, drop_last=True)
    for x1 in run.batches(loader):
        x0 = torch.randn_like(x1)
        t, xt, ut = matcher.sample_location_and_conditional_flow(x0, x1)
        loss = (model(torch.cat([xt, t[:, None]], dim=1)) - ut).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(model)
        run.saw(ut, loss)
    points = starting_noise().flatten(1)
    with torch.no_grad():
        for step in range(3):
            t = torch.full((len(points), 1), step / 3)
            points = points + average(torch.cat([points, t], dim=1)) / 3
    return points


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=800, help="training steps of each run")
    steps = parser.parse_args().steps
    random, matched = Run("random", steps), Run("matched", steps)
    compare({random: train(random, "independent", 0), matched: train(matched, "greedy", 1000)})
