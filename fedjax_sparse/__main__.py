"""`python -m fedjax_sparse` is `fedjax-sparse`."""

from fedjax_sparse.cli.process import run

if __name__ == "__main__":
    run()
