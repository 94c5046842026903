"""Our solvers against diffusers' schedulers, where these are known to say the same."""

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EDMDPMSolverMultistepScheduler, EDMEulerScheduler

from dansm.couplings.registry import Pick
from dansm.processes.diffusion import Diffusion
from dansm.processes.edm import EDM
from dansm.processes.grids import noise_level, rho
from dansm.processes.rectified_flow import RectifiedFlow
from dansm.processes.samplers import Sampler

NOISE = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def column(condition, x):
    return condition.to(x).reshape(-1, *[1] * (x.ndim - 1))


def field(x, condition):
    return torch.sin(x) + 0.1 * x * column(condition, x) / 999


def scheduled(scheduler, network, noise):
    """Sample by a scheduler; the network is given the scheduler's own level of each step."""
    x = noise
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        x = scheduler.step(network(x, float(sigma)), timestep, x).prev_sample
    return x


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_dpmpp_2m_of_a_flow(steps):
    """Their sigma is 1 − t, and their answer noise − data; their grid is given to ours."""
    scheduler = DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", solver_order=2
    )
    scheduler.set_timesteps(steps)
    t = 1 - scheduler.sigmas.double().numpy()
    times = ((t - t[0]) / (1 - t[0])).tolist()

    def network(x, sigma):
        return -field(x, torch.full((len(x),), 999 * (1 - sigma)))

    sampler = Sampler(RectifiedFlow(epsilon=float(t[0])), Pick("dpmpp_2m", {"times": times}))
    found = sampler.sample(field, NOISE).samples
    torch.testing.assert_close(found, scheduled(scheduler, network, NOISE), rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_dpmpp_2m_of_diffusion(steps):
    scheduler = DPMSolverMultistepScheduler(
        beta_start=1e-4, beta_end=0.02, solver_order=2, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(steps)
    indices = iter(scheduler.timesteps.tolist())

    def network(x, sigma):
        return field(x, torch.full((len(x),), float(next(indices))))

    found = Sampler(Diffusion(), Pick("dpmpp_2m")).sample(field, NOISE, steps).samples
    torch.testing.assert_close(found, scheduled(scheduler, network, NOISE), rtol=0, atol=2e-4)


@pytest.mark.parametrize("steps", [3, 18])
@pytest.mark.parametrize(
    ("solver", "scheduler"),
    [("euler", EDMEulerScheduler), ("dpmpp_2m", EDMDPMSolverMultistepScheduler)],
)
def test_edm(solver, scheduler, steps):
    """Preconditioning, noise levels, Euler's method and DPM-Solver++ of EDM."""
    theirs = scheduler(sigma_data=0.5)
    theirs.set_timesteps(steps)
    levels = [float(noise_level(time)) for time in rho(steps, None)]
    np.testing.assert_allclose(theirs.sigmas.numpy(), levels, rtol=1e-5)
    x = 80 * NOISE
    for timestep, sigma in zip(theirs.timesteps, theirs.sigmas[:-1], strict=True):
        condition = torch.full((len(x),), 250 * float(np.log(float(sigma))))
        answer = field(theirs.scale_model_input(x, timestep), condition)
        x = theirs.step(answer, timestep, x).prev_sample
    found = Sampler(EDM(), Pick(solver)).sample(field, NOISE, steps).samples
    torch.testing.assert_close(found, x.to(found), rtol=1e-4, atol=2e-4)
