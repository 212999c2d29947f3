"""`python -m aam_edge` is `aam-edge`."""

import sys

from aam_edge.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
