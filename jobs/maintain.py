"""Keep a lake in order, as a scheduled job: `shotlake maintain`."""

import sys

from shotlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["maintain", *sys.argv[1:]]))
