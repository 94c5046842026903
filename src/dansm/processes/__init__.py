"""Generative processes: training points, times and losses, solvers and grids.

The names are in the three modules that end in ``registry``, what trains in
`dansm.processes.objective`, what samples in `dansm.processes.samplers`. Importing this package
imports no PyTorch.
"""
