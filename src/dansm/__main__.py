"""The command ``dansm``, which says so where what it needs is not installed."""

import sys


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed
            # Signs that the locale lacks, and bytes of file names that are not UTF-8.
            stream.reconfigure(errors="backslashreplace")
    try:
        from dansm.cli import app

        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "dansm":
            raise
        sys.exit(f'error: dansm needs {error.name}, found none; pip install "dansm[workflow]"')


if __name__ == "__main__":
    main()
