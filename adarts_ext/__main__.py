"""``python -m adarts_ext`` is the command ``adarts``."""

import sys

from adarts_ext.cli import main

if __name__ == "__main__":
    sys.exit(main())
