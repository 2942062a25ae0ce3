"""``python -m cxr``, and the command ``cxr`` of an installation: see ``cxr/commands/main.py`` for what it does."""

import sys

from cxr.libraries import LibraryError, check_libraries
from cxr.memory import one_sentence_without_memory


def main() -> int:
    """Check the libraries before the command line imports any, then run the command; returns the exit code."""
    try:
        check_libraries()
    except LibraryError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    with one_sentence_without_memory("error"):
        from cxr.commands.main import main as run_command

        return run_command()


if __name__ == "__main__":
    sys.exit(main())
