"""Minibatch optimal transport between samples and noises.

It is BatchOT of Pooladian et al. (Multisample Flow Matching, ICML 2023, arXiv 2304.14772) and
OT-CFM of Tong et al. (TMLR 2024, arXiv 2302.00482, which draws from an entropic plan as SB-CFM).
Each batch gets as many fresh noises as it has samples, all of equal weight, and the transport plan
of least squared distance between them decides who gets which.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from dansm.couplings.base import FreshNoiseCoupling, check_costs
from dansm.couplings.hungarian import assign_optimally
from dansm.couplings.registry import MinibatchOptions
from dansm.randomness import generator, normal


class MinibatchOT(FreshNoiseCoupling):
    """Optimal transport plan between each batch and as many fresh noises.

    - ``exact``: between equal numbers of equal weights an optimal plan is a permutation (Birkhoff),
      so samples are paired by it. Every noise is used exactly once and the noise is exactly
      Gaussian in every batch. The published code draws pairs from the plan with replacement
      instead, which repeats some samples and leaves others out.
    - ``sinkhorn``: the entropic plan (through the POT library, in the log domain), from each row
      of which one noise is drawn. Every sample is used once. A noise is used once on average, so
      that the noise is Gaussian over many batches; but in a batch some come several times and
      others never.

    Parameters
    ----------
    match_size
        0: the batch is the set.
    seed
        Seed of the noise and of the draws from the plan.
    method
        ``exact`` or ``sinkhorn``.
    regularisation
        For ``sinkhorn``: weight of the entropy relative to the batch's mean squared distance,
        0.01 unless given. Distances spread less about their mean the more dimensions there are, so
        that the same weight blurs the plan more.

    Raises
    ------
    ValueError
        If the match size is not 0, or an option is unknown, out of range or of the other method.
    ImportError
        If ``sinkhorn`` is asked for and the POT library is missing.
    """

    name = "minibatch_ot"
    _squares = 12  # Sinkhorn's iteration holds several copies in double precision

    def __init__(
        self,
        match_size: int = 0,
        seed: int = 0,
        method: str = "exact",
        regularisation: float | None = None,
    ) -> None:
        MinibatchOptions(method, regularisation)
        if method == "sinkhorn":
            regularisation = 0.01 if regularisation is None else regularisation
            _check_pot()
        super().__init__(match_size, seed)
        self.method = method
        self.regularisation = regularisation

    def choose(self, flat: Tensor, stream: torch.Generator) -> Tensor:
        """Return the transported noise; see `FreshNoiseCoupling.choose`."""
        noise = normal(flat.shape, stream).to(flat)
        costs = torch.cdist(flat, noise).square()
        check_costs(costs, flat)
        if self.method == "exact":
            chosen = assign_optimally(costs)
        else:
            draws = generator(self.seed, "plan", self._progress["batches"])
            plan = sinkhorn_plan(costs, self.regularisation).cpu()
            chosen = torch.multinomial(plan, 1, generator=draws).squeeze(1)
        return noise[chosen.to(flat.device)]

    def _identity(self) -> dict[str, Any]:
        options = {"method": self.method, "regularisation": self.regularisation}
        return {**super()._identity(), **options}


def sinkhorn_plan(costs: Tensor, regularisation: float) -> Tensor:
    """Return the entropic transport plan between equal weights.

    Parameters
    ----------
    costs
        Shape (n, n), finite and not negative.
    regularisation
        Weight of the entropy relative to the mean cost.

    Returns
    -------
    Tensor, shape (n, n), float64
        Its rows sum to 1 / n, its columns too as far as the iteration has converged (POT warns
        where it has not).

    Raises
    ------
    ImportError
        If the POT library is missing.
    """
    _check_pot()
    from ot import sinkhorn  # importing POT takes seconds, and only this method needs it

    costs = costs.double()
    weight = regularisation * costs.mean()
    return sinkhorn([], [], costs, weight, method="sinkhorn_log", stopThr=1e-6)


def _check_pot() -> None:
    if find_spec("ot") is None:
        raise ImportError(
            "minibatch_ot, method 'sinkhorn': expected the POT library, found none; "
            'pip install "dansm[ot]"'
        )
