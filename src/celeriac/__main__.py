"""``python -m celeriac``: the command line."""

import sys

from celeriac.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
