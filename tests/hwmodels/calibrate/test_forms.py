"""Fits against constants that were planted."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate import CommPoint, Form, fit_form, kendall_tau, leave_out, summarize
from moeplace.hwmodels.calibrate.terms import quantities

FORM = Form(("fixed", "off_node_share"), ("pair_nic_kB", "pair_fast_kB"))


def points() -> list[CommPoint]:
    return [
        CommPoint("h100-sxm", "deepep-low-latency", "dispatch", ranks, 8, tokens, dtype="fp8")
        for ranks in (16, 32, 64)
        for tokens in (1, 4, 16, 64, 256)
    ]


def test_planted_constants_are_found() -> None:
    """A table made by the form gives its constants back, and held-out sizes too."""
    amounts = quantities(points(), FORM.terms)
    times = amounts @ np.array([9.0, 20.0, 0.02, 0.001])
    fit = fit_form(FORM, amounts, times)
    assert fit.predict(amounts) == pytest.approx(times, rel=1e-4)
    timed = [p.replace(measured_us=t) for p, t in zip(points(), times, strict=True)]
    held_out = leave_out(FORM, timed, amounts, lambda p: p.ranks)
    assert held_out == pytest.approx(times, rel=5e-3)


def test_known_constants_are_kept() -> None:
    """A constant that is given is not fitted; the others make up for it."""
    amounts = quantities(points(), FORM.terms)
    times = amounts @ np.array([9.0, 20.0, 0.02, 0.001])
    fit = fit_form(FORM, amounts, times, known={"pair_nic_kB": 0.02})
    assert fit.values[2] == 0.02
    assert fit.predict(amounts) == pytest.approx(times, rel=1e-3)
    wrong = fit_form(FORM, amounts, times, known={"pair_nic_kB": 0.1})
    assert summarize(wrong.predict(amounts), times).median > 0.05


def test_one_outlier_does_not_move_the_fit() -> None:
    """A time three times too long changes the others' predictions by less than 5 %."""
    amounts = quantities(points(), FORM.terms)
    times = amounts @ np.array([9.0, 20.0, 0.02, 0.001])
    spoiled = times.copy()
    spoiled[7] *= 3
    found = fit_form(FORM, amounts, spoiled).predict(amounts)
    assert np.abs(np.delete(found / times - 1, 7)).max() < 0.05


def test_too_few_or_bad_times() -> None:
    """One time, or a time of 0, cannot be fitted."""
    amounts = quantities(points(), FORM.terms)
    with pytest.raises(InputError, match="at least 2"):
        fit_form(FORM, amounts[:1], np.array([1.0]))
    with pytest.raises(InputError, match="positive"):
        fit_form(FORM, amounts[:2], np.array([1.0, 0.0]))


def test_a_single_group_cannot_be_left_out() -> None:
    """Nothing is predicted where nothing is left to fit."""
    amounts = quantities(points()[:5], FORM.terms)
    timed = [p.replace(measured_us=10.0) for p in points()[:5]]
    assert np.isnan(leave_out(FORM, timed, amounts, lambda p: p.ranks)).all()


def test_kendall_counts_only_what_differs() -> None:
    """Pairs within the margin do not count; the others agree or disagree."""
    measured = [100.0, 101.0, 150.0, 200.0]
    assert kendall_tau([1, 2, 3, 4], measured) == 1
    assert kendall_tau([4, 3, 2, 1], measured) == -1
    assert kendall_tau([2, 1, 3, 4], measured, margin=0.02) == 1  # 100 and 101 are the same
    assert kendall_tau([2, 1, 3, 4], measured) == pytest.approx(4 / 6)
    assert kendall_tau([1, 2], [100.0, 101.0], margin=0.02) is None
    assert kendall_tau([1, 1, 2], [100.0, 150.0, 200.0]) == pytest.approx(2 / 3)  # a tie counts 0
