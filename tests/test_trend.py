from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import theilslopes

from lift_insights.frames import InputError
from lift_insights.models import trend
from lift_insights.models.trend import describe

START = datetime(2026, 3, 1, tzinfo=UTC)


def points(values, period_s=3600, name="a"):
    times = [START + timedelta(seconds=period_s * i) for i in range(len(values))]
    schema = {"series": pl.String, "timestamp": pl.Datetime("us", "UTC"), "value": pl.Float64}
    return pl.DataFrame({"series": [name] * len(values), "timestamp": times, "value": list(map(float, values))}, schema)


def row(values, **kw):
    return describe(points(values, **kw)).row(0, named=True)


@given(st.lists(st.integers(-1000, 1000), min_size=3, max_size=60, unique=True))
@settings(max_examples=60, deadline=None)
def test_the_slope_and_its_interval_are_scipys(values):
    hours, y = np.arange(len(values)) * 0.5, np.array(values, float)
    slope, lo, hi = trend._sen(hours, y, 0.9, correlated=False)
    theirs = theilslopes(y, hours, alpha=0.9)
    assert slope == pytest.approx(theirs[0])
    assert lo == pytest.approx(theirs[2])
    assert hi == pytest.approx(theirs[3])


def test_a_slope_survives_spikes_and_is_given_per_hour():
    rng = np.random.default_rng(1)
    y = 500 + 3 * np.arange(4000) / 12 + rng.normal(0, 10, 4000) + 2000 * (rng.random(4000) < 0.05)
    got = row(y, period_s=300)
    assert got["lo"] <= 3 <= got["hi"]
    assert got["hi"] - got["lo"] < 0.1
    assert got["direction"] == "rising"


def test_the_interval_holds_zero_for_wandering_noise_without_a_slope():
    rng = np.random.default_rng(2)
    flat = 0
    for _ in range(40):
        noise = rng.normal(size=500)
        for i in range(1, 500):
            noise[i] += 0.7 * noise[i - 1]
        flat += row(noise)["direction"] == "flat"
    assert flat >= 35  # 95 % of 40 are 38


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([5] * 30, "constant"),
        ([5], "constant"),
        (np.arange(50) * 3.5, "counter"),
        (np.concatenate([np.arange(1, 200), np.arange(0, 60)]), "counter"),
        ([3, 0, 4, 1, 5] * 8, "integer"),
        ([0.1, 0.7, 0.3] * 8, "share"),
        ([0.1, 1.7, 0.3] * 8, "continuous"),
        ([-0.1, 0.7, 0.3] * 8, "continuous"),
    ],
)
def test_kinds(values, kind):
    assert row(values)["kind"] == kind


@pytest.mark.parametrize(("hours", "days"), [(24, 14), (168, 35), (8, 10), (11, 14)])
def test_seasons_are_found_not_assumed(hours, days):
    rng = np.random.default_rng(3)
    i = np.arange(days * 24)
    shape = np.random.default_rng(4).normal(size=hours)
    got = row(50 + 5 * shape[i % hours] + rng.normal(0, 1, len(i)))
    assert got["season_s"] == hours * 3600
    assert got["season_strength"] > 0.9


def test_noise_has_no_season():
    rng = np.random.default_rng(5)
    for _ in range(20):
        assert row(rng.normal(size=336))["season_s"] is None
        assert row(np.cumsum(rng.normal(size=336)))["season_strength"] < 0.6


def test_strength_is_the_formula_of_the_book():
    rng = np.random.default_rng(6)
    seasonal = np.tile(rng.normal(size=24), 10)
    rest = rng.normal(size=240)
    assert trend._strength(seasonal + rest, seasonal) == pytest.approx(
        max(0, 1 - np.var(rest) / np.var(seasonal + rest))
    )


def test_changes_are_found_where_they_are():
    rng = np.random.default_rng(7)
    i = np.arange(336)
    daily = 10 * np.sin(2 * np.pi * i / 24)
    y = 100 + daily + np.where(i >= 100, 30, 0) - np.where(i >= 220, 12, 0) + rng.normal(0, 2, 336)
    got = row(y)
    assert got["changes"] == 2
    assert abs((got["last_change"] - START) / timedelta(hours=1) - 220) <= 2
    assert got["change_size"] == pytest.approx(-12, abs=1.5)


def test_noise_and_spikes_and_slopes_are_no_changes():
    rng = np.random.default_rng(8)
    found = 0
    for _ in range(20):
        found += row(rng.normal(size=336))["changes"]
        found += row(rng.normal(size=336) + 50 * (rng.random(336) < 0.03))["changes"]
        found += row(rng.normal(size=336) + 0.5 * np.arange(336))["changes"]
    assert found <= 3


def test_the_grid_keeps_the_mean_of_a_slot_and_counts_the_missing():
    whole = points(np.arange(100.0) % 7)
    got = describe(pl.concat([whole.gather_every(1, 0).filter(pl.int_range(pl.len()) % 10 != 5), whole.head(1)])).row(
        0, named=True
    )
    assert got["period_s"] == 3600
    assert got["missing_share"] == pytest.approx(0.1)
    assert got["n"] == 91


def test_best_cut_is_the_slow_one():
    rng = np.random.default_rng(9)
    for _ in range(20):
        y = rng.normal(size=30)
        slow = {c: np.var(y) * 30 - np.var(y[:c]) * c - np.var(y[c:]) * (30 - c) for c in range(6, 25)}
        cut, gain = trend._best_cut(y, 6)
        assert gain == pytest.approx(max(slow.values()))
        assert slow[cut] == pytest.approx(gain)


def test_odd_input_has_documented_answers():
    assert describe(points([])).height == 0
    assert describe(points([float("nan"), float("inf")])).height == 0
    one = row([5.0])
    assert one["slope_per_h"] is None
    assert one["n"] == 1
    assert row([1.0, float("nan"), 3.0])["n"] == 2
    frame = points(np.random.default_rng(0).normal(size=50))
    assert describe(frame).equals(describe(frame.reverse()))
    assert isinstance(describe(frame.to_pandas()), pd.DataFrame)
    with pytest.raises(InputError, match="between 0 and 1"):
        describe(frame, level=1.0)
    with pytest.raises(InputError, match="missing: value"):
        describe(frame.drop("value"))


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=80), st.sampled_from([60, 300, 86400]))
@settings(max_examples=60, deadline=None)
def test_any_series_has_one_sensible_row(values, period_s):
    got = row(values, period_s=period_s)
    assert 0 <= got["season_strength"] <= 1 if got["season_strength"] is not None else True
    if got["slope_per_h"] is not None:
        assert got["lo"] <= got["slope_per_h"] <= got["hi"]
