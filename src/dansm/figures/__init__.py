"""The paper's tables and figures, drawn from result files.

Every function takes what a result file holds and returns a figure; `save_figure` writes it.
"""

from dansm.figures.ablation import coupling_ablation, read_marginals
from dansm.figures.base import save_figure
from dansm.figures.best_of_k import best_of_k, read_best_of_k
from dansm.figures.claims import claim_table
from dansm.figures.distances import distance_curves, distance_table, read_distances
from dansm.figures.matching_cost import cost_curves, read_costs
from dansm.figures.matching_share import read_matching_share, share_curves
from dansm.figures.pairs import (
    loss_over_time,
    nearest_share,
    noise_sample_tsne,
    path_geometry,
    read_crossings,
    read_losses,
    read_paths,
)
from dansm.figures.reproducibility import read_reproducibility, reproducibility
from dansm.figures.samples import read_samples, sample_grid
from dansm.figures.speed import read_speed, saving_figure

__all__ = ["best_of_k", "cost_curves", "coupling_ablation", "distance_curves", "distance_table"]
__all__ += ["loss_over_time", "nearest_share", "noise_sample_tsne", "path_geometry"]
__all__ += ["read_best_of_k", "read_costs", "read_crossings", "read_distances", "read_losses"]
__all__ += ["read_paths", "read_reproducibility", "read_samples", "reproducibility"]
__all__ += ["sample_grid", "save_figure"]
__all__ += [
    "claim_table",
    "read_marginals",
    "read_matching_share",
    "read_speed",
    "saving_figure",
    "share_curves",
]
