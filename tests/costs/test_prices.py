"""Bytes and FLOPs: by hand, against a recount, and against XLA."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fedjax_sparse import errors
from fedjax_sparse.costs import prices
from fedjax_sparse.types import Message, Work


def message(**counts) -> Message:
    """A message of these counts; what is not named is zero."""
    zeros = np.zeros(np.shape(next(iter(counts.values()))))
    return Message(**{name: jnp.asarray(counts.get(name, zeros), jnp.int32) for name in Message._fields})


def work(**counts) -> Work:
    return Work(**{name: jnp.asarray(counts[name], jnp.int32) for name in Work._fields})


MLP_SIZES = [784 * 128, 128, 128 * 128, 128, 128 * 10, 10]  # kernel, bias, ...
MLP_USES = [1, 0, 1, 0, 1, 0]
MLP_INPUT_GRAD = [False, False, True, False, True, False]


# Two clients: one sends 7 of 20 values, 3 of them among 13 unknown positions, and 9 bits of masks; one is absent.
HAND = {"size": [20, 0], "values": [7, 0], "located": [3, 0], "universe": [13, 0], "mask_bits": [9, 0]}


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("dense", 20 * 4 + 2),
        ("values+indices", 7 * 4 + 3 * 4 + 2),
        ("bitmask", 7 * 4 + 2 + 2),
        ("smallest", 7 * 4 + 2 + 2),
    ],
)
def test_bytes_by_hand(encoding, expected):
    assert prices.bytes_per_client(message(**HAND), encoding, 4).tolist() == [expected, 0]
    assert prices.message_bytes(message(**HAND), encoding, 4) == expected


def test_codes_stand_for_what_a_dense_encoding_sends_itself():
    """A scale and twelve signs in place of twelve values."""
    sent = message(size=[12], values=[1], code_bits=[12])
    for encoding, expected in (("dense", 48), ("values+indices", 4 + 2), ("bitmask", 4 + 2), ("smallest", 6)):
        assert prices.message_bytes(sent, encoding, 4) == expected


def test_a_receiver_who_knows_every_position_is_sent_values_only():
    sent = message(size=[1000], values=[100], universe=[900])
    for encoding in ("values+indices", "bitmask", "smallest"):
        assert prices.message_bytes(sent, encoding, 4) == 400


def test_smallest_is_chosen_for_each_client():
    # One index, many indices, and nearly everything: indices, bit mask and dense win in turn.
    sent = message(size=[800] * 3, values=[1, 200, 799], located=[1, 200, 799], universe=[800] * 3)
    each = prices.bytes_per_client(sent, "smallest", 4)
    assert each.tolist() == [4 + 4, 800 + 100, 3200]


def test_indices_grow_when_32_bits_are_too_few():
    assert [prices.index_bytes(n) for n in (1, 2**32, 2**32 + 1)] == [4, 4, 8]


def test_sums_pass_int64():
    most = 2**31 - 1
    sent = message(size=np.full((3, 5), most))
    assert prices.message_bytes(sent, "dense", 8) == 15 * 8 * most
    done = work(
        examples=[most, most],
        steps=[1, 1],
        forward=[[most], [most]],
        input_grad=[[most], [most]],
        weight_grad=[[most], [most]],
    )
    sparse, dense = prices.flops(done, [784], [True], [most])
    assert sparse == dense == 2 * 784 * 3 * most * most * 2
    assert sparse > 2**63


def test_unknown_encoding_and_value_bytes():
    with pytest.raises(errors.UsageError, match="unknown encoding 'bitmaks'; did you mean 'bitmask'"):
        prices.message_bytes(message(**HAND), "bitmaks", 4)
    with pytest.raises(errors.UsageError, match="value_bytes = 0"):
        prices.message_bytes(message(**HAND), "dense", 0)


def test_flops_of_an_mlp_by_hand():
    forward = 2 * (784 * 128 + 128 * 128 + 128 * 10)
    assert prices.inference_flops(MLP_SIZES, MLP_USES) == forward == 236_032
    live = [[n // 2 for n in MLP_SIZES], MLP_SIZES]
    done = work(examples=[3, 5], steps=[1, 1], forward=live, input_grad=live, weight_grad=[MLP_SIZES] * 2)
    sparse, dense = prices.flops(done, MLP_USES, MLP_INPUT_GRAD, MLP_SIZES)
    input_grad = 2 * (128 * 128 + 128 * 10)  # none for the first layer
    assert dense == 8 * (2 * forward + input_grad)
    assert sparse == 3 * (forward // 2 + input_grad // 2 + forward) + 5 * (2 * forward + input_grad)


def test_leading_axes_are_summed():
    rng = np.random.default_rng(0)
    counts = {name: rng.integers(0, 100, (4, 3)) for name in Message._fields}
    rounds = [message(**{name: value[t] for name, value in counts.items()}) for t in range(4)]
    assert prices.message_bytes(message(**counts), "smallest", 4) == sum(
        prices.message_bytes(one, "smallest", 4) for one in rounds
    )
    done = {"examples": rng.integers(0, 9, (4, 3)), "steps": np.ones((4, 3))}
    done |= {name: rng.integers(0, 50, (4, 3, 2)) for name in ("forward", "input_grad", "weight_grad")}
    each = [
        prices.flops(
            work(**{name: value[t] for name, value in done.items()}), [2, 3], [False, True], [50, 60]
        )
        for t in range(4)
    ]
    assert prices.flops(work(**done), [2, 3], [False, True], [50, 60]) == tuple(
        map(sum, zip(*each, strict=True))
    )


def test_fedsparsify_global_sends_550_9_mb():
    """Values only: each round, 10 clients send what the last global model kept and receive what the new one keeps."""
    N, T, clients, final = 118_282, 200, 10, 0.95
    sparsity = [
        final - final * (1 - (t - 1) / (T - 1)) ** 3 for t in range(1, T + 1)
    ]  # cubic, from 0 at t = 1
    kept = [N] + [N - int(s * N) for s in sparsity]
    assert kept[-1] == 5_915
    each = np.ones(clients, int)
    up = message(size=N * np.ones((T, clients)), values=np.outer(kept[:-1], each))
    down = message(size=N * np.ones((T, clients)), values=np.outer(kept[1:], each))
    sparse = prices.message_bytes(up, "values+indices", 4) + prices.message_bytes(down, "values+indices", 4)
    dense = prices.message_bytes(up, "dense", 4) + prices.message_bytes(down, "dense", 4)
    assert round(sparse / 1e6, 1) == 550.9
    assert round(dense / 1e6, 1) == 1892.5


def xla_flops(f, *args) -> float:
    analysis = jax.jit(f).lower(*args).compile().cost_analysis()
    assert analysis is not None
    return analysis["flops"]


def trained(apply):
    """Forward, gradient with respect to the parameters, and nothing else that XLA could count."""

    def step(params, x, cotangent):
        y, pull = jax.vjp(lambda p: apply(p, x), params)
        return y, pull(cotangent)

    return step


def convolve(x, kernel, stride):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def test_dense_layers_against_xla():
    shapes = [(20, 16), (16, 8), (8, 4)]
    params = [jnp.ones(shape) for shape in shapes]
    x, cotangent = jnp.ones((6, 20)), jnp.ones((6, 4))

    def apply(params, x):
        return x @ params[0] @ params[1] @ params[2]

    sizes = [a * b for a, b in shapes]
    assert xla_flops(apply, params, x) == 6 * prices.inference_flops(sizes, [1, 1, 1])
    done = work(examples=[6], steps=[1], forward=[sizes], input_grad=[sizes], weight_grad=[sizes])
    sparse, dense = prices.flops(done, [1, 1, 1], [False, True, True], sizes)
    assert xla_flops(trained(apply), params, x, cotangent) == sparse == dense


@pytest.mark.parametrize("stride", [1, 2])
def test_valid_convolutions_against_xla(stride):
    params = [jnp.ones((3, 3, 2, 4)), jnp.ones((3, 3, 4, 5))]
    x = jnp.ones((2, 15, 15, 2))

    def apply(params, x):
        return convolve(convolve(x, params[0], stride), params[1], stride)

    sides = [(15 - 3) // stride + 1]
    sides.append((sides[0] - 3) // stride + 1)
    uses, sizes = [side**2 for side in sides], [p.size for p in params]
    assert xla_flops(apply, params, x) == 2 * prices.inference_flops(sizes, uses)
    done = work(examples=[2], steps=[1], forward=[sizes], input_grad=[sizes], weight_grad=[sizes])
    _, dense = prices.flops(done, uses, [False, True], sizes)
    cotangent = jnp.ones((2, sides[1], sides[1], 5))
    assert xla_flops(trained(apply), params, x, cotangent) == dense


def test_totals_add_and_are_json():
    total = sum(
        [prices.Totals(1, 2, 3, 4, values=5), prices.Totals(flops=2**70, values=6)], start=prices.Totals()
    )
    assert total == prices.Totals(1, 2, 3 + 2**70, 4, values=11)
    assert json.loads(json.dumps(dataclasses.asdict(total)))["flops"] == 3 + 2**70


def test_no_jax():
    code = "import sys, fedjax_sparse.costs.prices, fedjax_sparse.costs.encodings; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
