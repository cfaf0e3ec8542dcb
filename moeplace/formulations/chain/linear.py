"""The mapping problem as a linear program in arrays, for the exact backends.

y[l, c, g] = 1 puts cluster c of layer l on rank g; w[p, c, g, c', g'] stands for
y[p, c, g] · y[p + 1, c', g']. Adams and Johnson's equations (DIMACS 16, 1994, there for one
permutation) tie them: summed over g', or over c', w is y of the first layer, and summed over g, or
over c, y of the second. For ``max`` a variable z of each pair of layers is at least every
flow[c, c'] · Σ distance[g, g'] w[c, g, c', g'].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from moeplace.formulations.chain.instance import ChainInstance


@dataclass(frozen=True, eq=False)
class ChainModel:
    """min cost · x, equal x = right, above x ≥ 0; y and w binary, z ≥ 0.

    Attributes
    ----------
    num_y, num_w, num_z
        How many variables of each kind, in this order.
    """

    cost: NDArray[np.float64]
    equal: csr_array
    right: NDArray[np.float64]
    above: csr_array
    num_y: int
    num_w: int
    num_z: int

    def labels(self, x: NDArray[np.float64], layers: int, n: int) -> NDArray[np.int64]:
        """Return (layers, n) the rank of each cluster in a solution."""
        chosen: NDArray[np.int64] = x[: self.num_y].reshape(layers, n, n).argmax(axis=2)
        return chosen


def chain_model(instance: ChainInstance) -> ChainModel:
    """Build the model; its size is O(layers · n⁴)."""
    from scipy.sparse import csr_array

    n, layers = instance.num_ranks, instance.num_layers
    pairs = layers - 1
    num_y, num_w = layers * n * n, pairs * n**4
    num_z = pairs if instance.combine == "max" else 0
    y = np.arange(num_y).reshape(layers, n, n)
    w = num_y + np.arange(num_w).reshape(pairs, n, n, n, n)
    width = num_y + num_w + num_z
    rows: list[NDArray[np.int64]] = []
    columns: list[NDArray[np.int64]] = []
    values: list[NDArray[np.float64]] = []
    right: list[NDArray[np.float64]] = []
    count = 0

    def add(terms: NDArray[np.int64], minus: NDArray[np.int64] | None, value: float) -> None:
        nonlocal count  # terms: (constraints, members); minus: (constraints,)
        number = terms.shape[0]
        index = count + np.arange(number)
        rows.append(np.repeat(index, terms.shape[1]))
        columns.append(terms.ravel())
        values.append(np.ones(terms.size))
        if minus is not None:
            rows.append(index)
            columns.append(minus)
            values.append(np.full(number, -1.0))
        right.append(np.full(number, value))
        count += number

    add(y.reshape(-1, n), None, 1.0)
    add(y.transpose(0, 2, 1).reshape(-1, n), None, 1.0)
    for pair in range(pairs):
        first = np.repeat(y[pair].ravel(), n)
        second = np.repeat(y[pair + 1].ravel(), n)
        block = w[pair]  # c, g, c', g'
        add(block.reshape(-1, n), first, 0.0)  # over g'
        add(block.transpose(0, 1, 3, 2).reshape(-1, n), first, 0.0)  # over c'
        add(block.transpose(2, 3, 0, 1).reshape(-1, n), second, 0.0)  # over g
        add(block.transpose(2, 3, 1, 0).reshape(-1, n), second, 0.0)  # over c
    if instance.sizes is not None:
        for rank in range(n):
            rows.append(np.full(layers * n, count))
            columns.append(y[:, :, rank].ravel())
            values.append(instance.sizes.ravel().astype(np.float64))
            right.append(np.array([instance.sizes.sum() / n]))
            count += 1
    equal = csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(count, width),
    )
    price = instance.flow[:, :, None, :, None] * instance.distance[None, None, :, None, :]
    cost = np.zeros(width)
    if instance.combine == "sum":
        cost[num_y : num_y + num_w] = price.ravel()
        above = csr_array((0, width))
    else:
        cost[num_y + num_w :] = 1.0
        each = np.arange(pairs * n * n).reshape(pairs, n, 1, n, 1)
        row = np.broadcast_to(each, price.shape).ravel()
        above = csr_array((-price.ravel(), (row, w.ravel())), shape=(pairs * n * n, width))
        z = np.repeat(num_y + num_w + np.arange(pairs), n * n)
        peak = csr_array((np.ones(z.size), (np.arange(z.size), z)), shape=(pairs * n * n, width))
        above = csr_array(above + peak)
    return ChainModel(cost, equal, np.concatenate(right), above, num_y, num_w, num_z)
