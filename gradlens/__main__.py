"""``python -m gradlens``: the command line."""

import sys

from gradlens.cli import main

if __name__ == "__main__":
    sys.exit(main())
