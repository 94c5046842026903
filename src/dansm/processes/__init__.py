"""Generative processes: the training loss, the time distribution and the samplers."""

from dansm.processes.base import Process, Sampled
from dansm.processes.diffusion import Diffusion
from dansm.processes.rectified_flow import RectifiedFlow

__all__ = ["PROCESSES", "Diffusion", "Process", "RectifiedFlow", "Sampled"]

PROCESSES: dict[str, Process] = {"rectified_flow": RectifiedFlow(), "diffusion": Diffusion()}
