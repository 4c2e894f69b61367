"""The package's tiny problem, for the tests beside it."""

from fedjax_sparse.testing.toy import ROUNDS, SIZES, algorithm, dataset, leaves_close, setting

__all__ = ["ROUNDS", "SIZES", "algorithm", "dataset", "leaves_close", "setting"]
