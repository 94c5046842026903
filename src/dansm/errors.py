"""Errors that a user can act on."""


class InputError(ValueError):
    """Something given by the user is wrong: a config value, a file, a folder.

    The message names the file or key, what was expected and what was found.
    """


class TrainingError(RuntimeError):
    """Training cannot go on (for example a non-finite loss); the last good state is kept."""


class InterruptedTraining(Exception):  # noqa: N818
    """Training was asked to stop (SIGTERM) and has saved its state; the same call continues it."""
