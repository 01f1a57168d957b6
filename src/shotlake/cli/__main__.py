"""`python -m shotlake.cli`."""

import sys

from shotlake.cli import main

if __name__ == "__main__":
    sys.exit(main())
