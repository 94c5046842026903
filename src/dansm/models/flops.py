"""Operations of a network, and how many a GPU does in a second."""

from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from dansm.config import Network, Shape
from dansm.models.networks import make_network

# Peak FLOP/s in half precision and in single precision as convolutions use it (TensorFloat-32 where
# there is), as published, without sparsity.
PEAKS = {
    "NVIDIA A100": (312e12, 156e12),
    "NVIDIA H100": (989e12, 495e12),
    "NVIDIA H200": (989e12, 495e12),
    "NVIDIA L40S": (362e12, 183e12),
    "NVIDIA GeForce RTX 4090": (165e12, 83e12),
    "Tesla V100": (125e12, 16e12),
}
DEFAULT_GPU = "NVIDIA A100"
# Published trainings of such networks reach between 7 % (DDPM++, 8 V100) and 14 % (ADM, 32 A100).
SHARE_OF_PEAK = 0.1


@cache
def _network_size(network: str, shape: Shape) -> tuple[int, int]:
    with torch.device("meta"), torch.no_grad():
        model = make_network(Network.model_validate_json(network), shape)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, *shape), torch.empty(1))
    return counter.get_total_flops(), sum(p.numel() for p in model.parameters())


def network_size(network: Network, shape: Shape) -> tuple[int, int]:
    """Return the FLOPs of a network's forward pass for one sample, and its parameters."""
    return _network_size(network.model_dump_json(), shape)
