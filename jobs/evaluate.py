"""Measure retrieval on annotated videos: `shotlake eval retrieval` as a job."""

import sys

from shotlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["eval", "retrieval", *sys.argv[1:]]))
