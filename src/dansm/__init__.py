"""DANSM: distance-aware noise-sample matching for rectified flow and diffusion models.

To match noises in a training loop of your own, start with `dansm.couplings`.

A reproduction of *Easing Training Process of Rectified Flow Models Via Lengthening Inter-Path
Distance* (ICLR 2025). A room imports only from rooms before it, in this order: ``errors``,
``randomness``, ``geometry``, ``couplings``, ``processes``, ``catalogue``, ``config``, ``io``,
``data``, ``models``, ``training``, ``metrics``, ``pairs``, ``analysis``, ``figures``,
``publish``, ``workflow``, ``single_steps``, ``cli``.
"""

__version__ = "0.1.0"
