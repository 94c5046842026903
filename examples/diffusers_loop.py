"""Matching in a diffusers training loop, which stays as it is: its scheduler is given a coupling.

The network is trained twice, with random and with matched noise, by accelerate and with its
checkpoints. The lines marked DANSM are all that matching adds, and those marked "resume" are for
going on from a checkpoint.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from digits import Run, compare, digits, starting_noise
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader

from dansm.couplings import make_coupling, match_scheduler  # DANSM


def train(run: Run, name: str, match_size: int, checkpoint: Path | None) -> Tensor:
    """Train a network, and return its samples after 3 Euler steps."""
    torch.manual_seed(0)
    accelerator = Accelerator()
    model = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )
    scheduler = FlowMatchEulerDiscreteScheduler()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = DataLoader(digits(), batch_size=64, shuffle=True, drop_last=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    ema = EMAModel(model.parameters(), decay=0.99)
    accelerator.register_for_checkpointing(ema)
    # Each process has a pool of its own, and so a seed and a state of its own.
    rank = accelerator.process_index
    coupling = make_coupling(name, match_size=match_size, seed=rank)  # DANSM
    match_scheduler(scheduler, coupling)  # DANSM
    if checkpoint is not None and checkpoint.exists():
        accelerator.load_state(str(checkpoint))
        coupling.load_state_dict(torch.load(checkpoint / f"coupling_{rank}.pt"))  # resume
    for images in run.batches(loader):
        noise = torch.randn_like(images)
        chosen = torch.randint(scheduler.config.num_train_timesteps, (len(images),))
        timesteps = scheduler.timesteps[chosen].to(images.device)
        noisy = scheduler.scale_noise(images, timesteps, noise)
        loss = mse_loss(model(noisy, timesteps).sample, noise - images)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(model.parameters())
        run.saw(images - noise, loss)
    if checkpoint is not None:
        accelerator.save_state(str(checkpoint))
        torch.save(coupling.state_dict(), checkpoint / f"coupling_{rank}.pt")  # resume
    ema.copy_to(model.parameters())
    points = starting_noise().to(accelerator.device)
    scheduler.set_timesteps(sigmas=np.linspace(1, 0, 3, endpoint=False))
    with torch.no_grad():
        for timestep in scheduler.timesteps:
            points = scheduler.step(model(points, timestep).sample, timestep, points).prev_sample
    return points.cpu()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="training steps of each run")
    parser.add_argument("--checkpoints", type=Path, help="folder; what is there is continued")
    options = parser.parse_args()
    samples = {}
    for label, name, match_size in (("random", "independent", 0), ("matched", "greedy", 1000)):
        run = Run(label, options.steps)
        folder = options.checkpoints and options.checkpoints / label
        samples[run] = train(run, name, match_size, folder)
    compare(samples)
