"""`ext4diff` that gives workers little time to answer at the end of a night: `python -m hasty`."""

from __future__ import annotations

import sys

from harness.campaign import engine
from harness.cli import main

if __name__ == "__main__":
    engine._ANSWER, engine._WAIT = 1.0, 3.0
    sys.exit(main())
