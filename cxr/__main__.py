"""``python -m cxr``: see ``cxr/commands/main.py``."""

import sys

from cxr.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
