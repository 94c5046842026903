"""Generative processes: training points, times and losses, solvers and grids.

The names are in `dansm.processes.registry`, what trains in `dansm.processes.objective`, what
samples in `dansm.processes.samplers`. Importing this package imports no PyTorch.
"""
