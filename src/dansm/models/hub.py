"""Where published models are: in a folder, or at a commit of a repository of the hub."""

import re
from pathlib import Path

from dansm.config import Published
from dansm.errors import InputError


def check_published(settings: Published, what: str) -> bool:
    """Return whether a published model is in a folder; otherwise it is on the hub.

    Raises
    ------
    InputError
        If its name is neither a folder nor a hub name with a commit; it names ``what`` was
        expected.
    """
    if Path(settings.name).is_dir():
        return True
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", settings.name) or settings.name.startswith("."):
        raise InputError(
            f"{settings.name}: expected {what} or a hub name (owner/name), found no such folder"
        )
    if settings.revision is None:
        raise InputError(
            f"{settings.name}: expected a folder, or the revision of the hub's repository to take "
            "(its commit, 40 hexadecimal digits), found neither"
        )
    return False
