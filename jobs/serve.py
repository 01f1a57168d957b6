"""Answer queries over HTTP until the job is stopped: `shotlake serve` as a job."""

import sys

from shotlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
