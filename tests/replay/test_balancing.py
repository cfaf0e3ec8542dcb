"""Balancing by halves: reports against loops, methods against brute force on tiny cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.replay.balancing import (
    BALANCES,
    balance_report,
    balanced_ranks,
    batch_shares,
    pearson,
)
from moeplace.replay.buffering import Requests


def requests(seed: int = 0, batches: int = 10, layers: int = 2, experts: int = 6) -> Requests:
    rng = np.random.default_rng(seed)
    mean = rng.gamma(0.7, 10.0, (1, layers, experts))
    return Requests(rng.poisson(mean, (batches, layers, experts)).astype(np.int32), 50)


def test_report_against_a_loop() -> None:
    """Max Load and Avg Max Load follow from walking over batches and ranks."""
    given = requests()
    owner = balanced_ranks(given, 3, "contiguous")
    report = balance_report(given, owner, 3)
    for layer in range(given.num_layers):
        fullest = []
        for tokens in given.tokens[:, layer]:
            on_rank = [tokens[owner[layer] == rank].sum() for rank in range(3)]
            fullest.append(max(on_rank) / tokens.sum())
        assert report.layer_max[layer] == pytest.approx(max(fullest))
        assert report.layer_mean_max[layer] == pytest.approx(np.mean(fullest))
    assert report.max_load == pytest.approx(report.layer_max.mean())
    assert report.avg_max_load == pytest.approx(report.layer_mean_max.mean())


@pytest.mark.parametrize("method", list(BALANCES))
@pytest.mark.parametrize("ranks", [2, 3, 4, 6])
def test_methods_deal_evenly(method: str, ranks: int) -> None:
    """No rank holds more than ⌈E/R⌉ experts of a layer, whatever the method."""
    owner = balanced_ranks(requests(), ranks, method)
    assert owner.shape == (2, 6)
    for row in owner:
        assert np.bincount(row, minlength=ranks).max() <= -(-6 // ranks)


def test_exchanges_reach_the_best_pairs() -> None:
    """On six experts and two ranks, `batch-max` is within 2 % of every deal tried, and no worse
    than greedy on what it is fitted on.
    """
    for seed in range(5):
        given = requests(seed, layers=1)
        found = {
            name: balance_report(given, balanced_ranks(given, 2, name), 2).avg_max_load
            for name in ("greedy", "batch-max")
        }
        best = min(
            balance_report(
                given, np.isin(np.arange(6), half)[None].astype(np.int64), 2
            ).avg_max_load
            for half in itertools.combinations(range(6), 3)
        )
        assert best - 1e-12 <= found["batch-max"] <= min(found["greedy"], 1.02 * best) + 1e-12


def test_anti_correlation_parts_what_is_busy_together() -> None:
    """Experts that are busy in the same batches part, though their mean loads say nothing."""
    on, off = [9, 9, 1, 1], [1, 1, 9, 9]
    given = Requests(np.array([on, off] * 4, np.int32)[:, None, :], 20)
    owner = balanced_ranks(given, 2, "anti-correlation")[0]
    assert owner[0] != owner[1]
    assert owner[2] != owner[3]
    assert balance_report(given, owner[None], 2).max_load == pytest.approx(0.5)
    together = balanced_ranks(given, 2, "contiguous")
    assert balance_report(given, together, 2).max_load == pytest.approx(0.9)


def test_pearson_against_numpy() -> None:
    """Correlations are NumPy's; an expert that never varies has none."""
    shares = batch_shares(requests())[:, 0]
    assert np.allclose(pearson(shares), np.corrcoef(shares.T))
    shares = np.array([[0.5, 0.2, 0.3], [0.5, 0.3, 0.2]])
    assert pearson(shares)[0].tolist() == [0, 0, 0]
    assert pearson(shares)[1, 2] == pytest.approx(-1)


def test_errors() -> None:
    """Unknown methods and too many ranks are refused."""
    with pytest.raises(InputError, match="anti-correlation"):
        balanced_ranks(requests(), 2, "anticorrelation")
    with pytest.raises(InputError, match="ranks"):
        balanced_ranks(requests(), 7, "greedy")
