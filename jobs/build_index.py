"""Build and publish an index generation: `shotlake index build` as a job."""

import sys

from shotlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["index", "build", *sys.argv[1:]]))
