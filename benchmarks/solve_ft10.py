"""What `solve` prints for ft10, for the README.

python benchmarks/solve_ft10.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import record

RUN = Path(__file__).resolve().parent.parent / "run.py"


def main():
    """Solve and write what is printed."""
    run = subprocess.run([sys.executable, RUN, "solve", "jobshop/ft10"], capture_output=True, text=True, check=True)
    record.write("solve_ft10", "`python run.py solve jobshop/ft10`", [], block=run.stdout.rstrip())


if __name__ == "__main__":
    main()
