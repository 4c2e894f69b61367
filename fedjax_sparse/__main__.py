"""`python -m fedjax_sparse` is `fedjax-sparse`."""

import sys

from fedjax_sparse.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
