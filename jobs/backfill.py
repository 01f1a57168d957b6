"""Bring a lake up to date with an archive: `shotlake backfill` as a job."""

import sys

from shotlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["backfill", *sys.argv[1:]]))
