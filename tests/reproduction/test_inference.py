"""The forward pass whose time is taken computes what the model computes, in any form."""

import numpy as np
import scipy.sparse

from fedjax_sparse.reproduction import inference


def test_dense_and_sparse_forms_predict_the_same_and_take_time():
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=shape).astype(np.float32) for shape in ((6, 5), (5, 4), (4, 3))]
    layers = [(np.where(abs(k) > 1, k, 0), rng.normal(size=k.shape[1]).astype(np.float32)) for k in kernels]
    x = rng.normal(size=(7, 6)).astype(np.float32)
    expected = x
    for number, (kernel, bias) in enumerate(layers):
        expected = (np.maximum(expected, 0) if number else expected) @ kernel + bias
    for form in (np.ascontiguousarray, scipy.sparse.csr_array):
        stored = [(form(kernel.T), bias[:, None]) for kernel, bias in layers]
        np.testing.assert_allclose(inference.logits(stored, x.T).T, expected, rtol=1e-5, atol=1e-5)
        assert 0 < inference.batch_seconds(layers, x, form) < 1
