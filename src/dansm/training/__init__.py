"""Training of runs."""

from importlib.util import find_spec

if find_spec("diffusers"):  # `dansm.training.prefetching` does without it
    import dansm.models  # noqa: F401 - before diffusers
