"""What an hour of the lake's video has cost: `shotlake cost report` as a job."""

import sys

from shotlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["cost", "report", *sys.argv[1:]]))
