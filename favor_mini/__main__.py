"""`python -m favor_mini` is `favor-mini`."""

import sys

from .apps.cli import main

if __name__ == "__main__":
    sys.exit(main())
