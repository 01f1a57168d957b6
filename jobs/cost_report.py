"""What an hour of the lake's video has cost: `shotlake cost report` for `ray job submit -- python jobs/cost_report.py --json`."""

import sys

from shotlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["cost", "report", *sys.argv[1:]]))
