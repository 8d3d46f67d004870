"""The command line from a clone: `python run.py --help`."""

import sys

from orl.cli import main

if __name__ == "__main__":
    sys.exit(main())
