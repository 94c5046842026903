"""The paper's tables and figures, drawn from result files.

Every function takes what a result file holds and returns a figure; `save_figure` writes it.
"""

from dansm.figures.ablation import coupling_ablation, read_marginals
from dansm.figures.base import save_figure
from dansm.figures.claims import claim_table
from dansm.figures.distances import distance_curves, distance_table, read_distances
from dansm.figures.matching_cost import cost_curves, read_costs
from dansm.figures.matching_share import read_matching_share, share_curves
from dansm.figures.pairs import noise_sample_tsne, read_pairs
from dansm.figures.samples import read_samples, sample_grid
from dansm.figures.speed import read_speed, saving_figure

__all__ = ["cost_curves", "coupling_ablation", "distance_curves", "distance_table"]
__all__ += ["noise_sample_tsne", "read_costs", "read_distances", "read_pairs", "read_samples"]
__all__ += ["sample_grid", "save_figure"]
__all__ += [
    "claim_table",
    "read_marginals",
    "read_matching_share",
    "read_speed",
    "saving_figure",
    "share_curves",
]
