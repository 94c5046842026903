"""Training of runs."""

import dansm.models  # noqa: F401 - before diffusers
