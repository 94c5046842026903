"""Errors that a user can act on."""


def printable(text: str) -> str:
    """Return a text in which the bytes of names that are not UTF-8 are escaped."""
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # halves of characters, which are no such bytes
        return text.encode(errors="backslashreplace").decode()


class InputError(ValueError):
    """Something given by the user is wrong: a config value, a file, a folder.

    The message names the file or key, what was expected and what was found.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class TrainingError(RuntimeError):
    """Training cannot go on (for example a non-finite loss); the last good state is kept."""


class InterruptedTraining(Exception):  # noqa: N818
    """Training was asked to stop (SIGTERM) and has saved its state; the same call continues it."""
