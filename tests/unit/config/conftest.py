"""A valid configuration, what is said of a changed one, and rows of changes with messages."""

from copy import deepcopy
from pathlib import Path

import pytest

from dansm.config import parse_config, read_yaml
from dansm.errors import InputError

VALID = read_yaml(Path(__file__).with_name("valid.yaml"))


def _change(content, changes):
    """Return the configuration after changes by dotted paths; a value of ... deletes, + appends."""
    content = deepcopy(content)
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place = content
        for part in parents:
            place = place[part]
        if value is ...:
            del place[last]
        elif last == "+":
            place.append(value)
        else:
            place[last] = value
    return content


@pytest.fixture(scope="session")
def valid():
    """The valid configuration, not to be changed."""
    return VALID


@pytest.fixture(scope="session")
def parsed():
    """A function that parses the valid configuration after changes."""
    return lambda changes=(): parse_config(_change(VALID, dict(changes)))


@pytest.fixture(scope="session")
def problems():
    """A function that returns the lines in which a changed configuration is refused."""

    def refused(changes):
        with pytest.raises(InputError) as caught:
            parse_config(_change(VALID, changes), "my.yaml")
        first, *lines = str(caught.value).splitlines()
        assert first == "my.yaml is not valid:"
        return "\n".join(line.strip() for line in lines)

    return refused
