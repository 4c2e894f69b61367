"""The tests of fedjax_sparse, in the folders of what they test."""

from fedjax_sparse.devices.quick_compilation import FLAGS as QUICK_COMPILATION
from fedjax_sparse.devices.quick_compilation import SIMPLE_LOOPS

__all__ = ["QUICK_COMPILATION", "SIMPLE_LOOPS"]
