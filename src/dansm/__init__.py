"""DANSM: distance-aware noise-sample matching for rectified flow and diffusion models.

To match noises in a training loop of your own, start with `dansm.couplings`.

A reproduction of *Easing Training Process of Rectified Flow Models Via Lengthening Inter-Path
Distance* (ICLR 2025). Modules import only from those before them in this order: ``errors``,
``config``, ``files``, ``randomness``, ``run_folder``, ``geometry``, ``couplings``, ``data``,
``models``, ``processes``, ``provenance``, ``prefetching``, ``training``, ``launching``,
``evaluation``, ``figures``, ``devices``, ``jobs``, ``planning``, ``single_steps``, ``gallery``,
``report``, ``crate``, ``pages``, ``cli``.
"""

__version__ = "0.1.0"
