from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, spearmanr, theilslopes

from lift_insights.frames import InputError
from lift_insights.models import trend
from lift_insights.models.trend import describe, lags

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
        ([3, 0, 4, 1, 5] * 8, "count"),
        ([-3, 0, 4, 1, 5] * 8, "gauge"),
        ([0, 0, 4, 0, 1] * 8, "intermittent"),
        ([0, 0, 0.4, 0, 0] * 8, "intermittent"),
        ([0.1, 0.7, 0.3] * 8, "ratio"),
        ([0.1, 1.7, 0.3] * 8, "gauge"),
        ([-0.1, 0.7, 0.3] * 8, "gauge"),
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
    for level in (1.0, "x", None):
        with pytest.raises(InputError, match="between 0 and 1"):
            describe(frame, level=level)
    with pytest.raises(InputError, match="missing: value"):
        describe(frame.drop("value"))


@given(st.lists(st.floats(), min_size=1, max_size=80), st.sampled_from([1e-6, 60, 300, 86400]))
@settings(max_examples=60, deadline=None)
def test_any_series_has_one_sensible_row(values, period_s):
    if not any(abs(v) <= 1e100 for v in values):
        assert describe(points(values)).is_empty()
        return
    got = row(values, period_s=period_s)
    assert 0 <= got["season_strength"] <= 1 if got["season_strength"] is not None else True
    if got["lo"] is not None:
        assert got["lo"] <= got["slope_per_h"] <= got["hi"]


# Annual flow of the Nile at Aswan, 10^8 m3, 1871 to 1970 (Cobb, Biometrika 65 (1978) 243): the textbook change after 1898.
NILE = """1120 1160 963 1210 1160 1160 813 1230 1370 1140 995 935 1110 994 1020 960 1180 799 958 1140 1100 1210 1150 1250 1260
1220 1030 1100 774 840 874 694 940 833 701 916 692 1020 1050 969 831 726 456 824 702 1120 1100 832 764 821 768 845 864 862 698
845 744 796 1040 759 781 865 845 944 984 897 822 1010 771 676 649 846 812 742 801 1040 860 874 848 890 744 749 838 1050 918 986
797 923 975 815 1020 906 901 1170 912 746 919 718 714 740"""


def test_the_nile_changed_after_1898():
    got = row([float(v) for v in NILE.split()])
    assert got["changes"] == 1
    assert (got["last_change"] - START) / timedelta(hours=1) == 1899 - 1871
    assert got["change_size"] == pytest.approx(850 - 1098, abs=60)  # the published means


def test_what_wanders_has_no_changes_of_level():
    rng = np.random.default_rng(5)
    told = [row(np.cumsum(step))["changes"] for _ in range(10) for step in (rng.normal(size=600), rng.poisson(3, 600))]
    assert sum(told) <= 4
    assert row(3.0 * np.arange(500))["changes"] == 0


def test_every_season_and_every_change_is_listed():
    rng = np.random.default_rng(11)
    i = np.arange(28 * 24)
    y = 100 + 20 * np.sin(2 * np.pi * i / 24) - 15 * (i % 168 >= 120) + rng.normal(0, 3, len(i))
    y += np.where(i >= 200, 40, 0) - np.where(i >= 420, 60, 0)
    got = row(y)
    assert {s["season_s"] for s in got["seasons"]} == {86400, 604800}
    assert got["seasons"][0] == {"season_s": got["season_s"], "strength": got["season_strength"]}
    assert [abs((c["timestamp"] - START) / timedelta(hours=1) - at) <= 2 for c, at in zip(got["change_points"], (200, 420))] == [True] * 2  # fmt: skip
    assert [c["size"] for c in got["change_points"]] == pytest.approx([40, -60], abs=4)
    assert got["change_points"][-1] == {"timestamp": got["last_change"], "size": got["change_size"]}
    quiet = row(rng.normal(size=100))
    assert (quiet["seasons"], quiet["change_points"]) == ([], [])


def walks(rng, n=300, kind="walk"):
    noise = rng.normal(size=n)
    if kind == "walk":
        return np.cumsum(noise)
    if kind == "daily":
        return 5 * np.sin(2 * np.pi * np.arange(n) / 24) + noise
    for i in range(1, n):
        noise[i] += 0.9 * noise[i - 1]
    return noise


def several(*columns, period_s=3600):
    return pl.concat([points(y, period_s, name=chr(97 + k)) for k, y in enumerate(columns)])


@pytest.mark.parametrize("kind", ["walk", "autoregressive", "daily"])
def test_unrelated_series_seldom_look_related(kind):
    rng = np.random.default_rng(21)
    sure, naive = 0, 0
    for _ in range(100):
        x, y = walks(rng, kind=kind), walks(rng, kind=kind)
        sure += lags(several(x, y))["p"][0] <= 0.05
        naive += spearmanr(x, y).pvalue <= 0.05
    assert sure <= 10  # of 100 at 5 %, more than 10 are met once in 90
    assert naive > 30  # what the test is there to avoid


@pytest.mark.parametrize("kind", ["walk", "autoregressive", "daily"])
def test_the_follower_and_its_lag_are_found(kind):
    rng = np.random.default_rng(22)
    for _ in range(10):
        leader = walks(rng, 400, kind)
        follower = np.concatenate([np.zeros(5), leader[:-5]]) + 0.3 * walks(rng, 400, kind)
        got = lags(several(follower, leader)).row(0, named=True)
        assert (got["first"], got["then"], got["lag_s"]) == ("b", "a", 5 * 3600)
        assert got["q"] < 0.01
        assert got["correlation"] > 0.5
        mirrored = lags(several(-follower, leader)).row(0, named=True)
        assert mirrored["surprise_correlation"] == pytest.approx(-got["surprise_correlation"], abs=0.05)


def test_lags_stand_on_the_coarsest_period_and_bear_gaps():
    rng = np.random.default_rng(23)
    leader = walks(rng, 600)
    fine = points(leader, 300, name="fine")
    coarse = points(np.concatenate([np.zeros(3), leader[::2][:-3]]), 600, name="coarse")
    got = lags(pl.concat([fine.filter(pl.Series(rng.random(600) > 0.1)), coarse])).row(0, named=True)
    assert (got["first"], got["then"], got["lag_s"]) == ("fine", "coarse", 1800)
    assert got["p"] < 1e-6


def test_crossed_is_the_slow_one():
    rng = np.random.default_rng(24)
    table = rng.normal(size=(3, 40))
    table[rng.random((3, 40)) < 0.2] = np.nan
    here = ~np.isnan(table)
    for lag in (0, 1, 7):
        got, joint = trend._crossed(np.nan_to_num(table), here.astype(float), lag)
        for a in range(3):
            for b in range(3):
                both = [(table[a, t], table[b, t + lag]) for t in range(40 - lag) if here[a, t] and here[b, t + lag]]
                assert joint[a, b] == len(both)
                assert got[a, b] == pytest.approx(np.corrcoef(np.array(both).T)[0, 1])


def test_an_autoregression_is_taken_away():
    rng = np.random.default_rng(25)
    noise = rng.normal(size=2000)
    y = noise.copy()
    for i in range(2, 2000):
        y[i] += 0.6 * y[i - 1] + 0.3 * y[i - 2]
    rest = trend._surprises(y)
    here = ~np.isnan(rest)
    assert np.corrcoef(rest[here], noise[here])[0, 1] > 0.99


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(deadline=None)
def test_q_is_scipys(p):
    rows = pl.DataFrame({**dict.fromkeys(trend._LAGS), "p": p}, trend._LAGS)
    assert sorted(trend._with_q(rows)["q"]) == pytest.approx(sorted(false_discovery_control(p, method="by")))


def test_lags_say_what_they_cannot():
    flat = lags(several([5.0] * 50, np.arange(50.0) % 7)).row(0, named=True)
    short = lags(several([1.0, 2.0], [3.0, 1.0])).row(0, named=True)
    apart = pl.concat([points(np.arange(50.0) % 7), points(np.arange(50.0) % 5, name="b").with_columns(
        pl.col("timestamp") + timedelta(days=90))])  # fmt: skip
    for got in (flat, short, lags(apart).row(0, named=True)):
        assert (got["p"], got["q"], got["lag_s"], got["correlation"]) == (None,) * 4
    with pytest.raises(InputError, match="two series or more"):
        lags(points([1.0, 2.0, 3.0]))
    with pytest.raises(InputError, match="at least 0"):
        lags(several([1.0] * 9, [2.0] * 9), max_lag_s=-1)
    with pytest.raises(InputError, match="missing: series"):
        lags(points([1.0]).drop("series"))


@given(st.lists(st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=60), min_size=2, max_size=4))
@settings(max_examples=30, deadline=None)
def test_any_series_have_sensible_lags(columns):
    got = lags(several(*columns))
    assert len(got) == len(columns) * (len(columns) - 1) // 2
    assert got["p"].drop_nulls().is_between(0, 1).all()
    assert (got["q"].drop_nulls() >= got["p"].drop_nulls() - 1e-12).all()
    assert (got["lag_s"].drop_nulls() >= 0).all()


@pytest.mark.parametrize("gap_days", [3, 60, 400])
def test_noise_with_a_gap_has_no_trend(gap_days):
    rng = np.random.default_rng(31)
    late = pl.col("timestamp") + timedelta(days=gap_days)
    rows = []
    for k in range(40):
        noise = points(50 + rng.normal(size=1200), 300, name=str(k))
        rows.append(
            noise.with_columns(timestamp=pl.when(pl.int_range(pl.len()) < 600).then("timestamp").otherwise(late))
        )
    got = describe(pl.concat(rows))
    assert (got["direction"] == "flat").sum() >= 35
    assert got["changes"].sum() <= 1
    assert got["season_s"].is_null().sum() >= 38


def test_a_season_and_a_change_are_found_beside_a_gap():
    rng = np.random.default_rng(32)
    i = np.arange(28 * 24)
    whole = points(50 + 20 * np.sin(2 * np.pi * i / 24) + 15 * (i >= 500) + rng.normal(size=len(i)))
    got = describe(whole.filter((pl.Series(i) < 200) | (pl.Series(i) >= 320))).row(0, named=True)
    assert got["season_s"] == 86400
    assert (got["changes"], got["direction"]) == (1, "flat")
    assert abs((got["last_change"] - START) / timedelta(hours=1) - 500) <= 2


@pytest.mark.parametrize("step", [0, -10, -20, -40, 40])
def test_a_slope_with_a_step_is_both(step):
    rng = np.random.default_rng(33)
    i = np.arange(4032)
    got = row(100 + 0.01 * i + step * (i >= 2016) + rng.normal(0, 5, 4032), period_s=300)
    assert got["slope_per_h"] == pytest.approx(0.12, abs=0.01)
    assert got["direction"] == "rising"
    assert [c["size"] for c in got["change_points"]] == ([pytest.approx(step, abs=2)] if step else [])


def test_few_points_say_no_direction():
    for n in (2, 3, 4):
        got = row([1.0, 2.0, 4.0, 8.0][:n])
        assert got["slope_per_h"] > 0
        assert (got["lo"], got["hi"], got["direction"]) == (None, None, None)
    assert row([1.0, 2.0, 3.0, 4.0, 5.0])["direction"] == "rising"


def test_a_season_within_the_hour_is_found_in_days_of_points():
    rng = np.random.default_rng(34)
    i = np.arange(288 * 14)
    cron = 50 * (i % 12 == 0) + rng.normal(0, 2, len(i))
    daily = 40 * np.sin(2 * np.pi * i / 288)
    alone, both = row(100 + cron, period_s=300), row(100 + cron + daily, period_s=300)
    assert (alone["season_s"], len(alone["seasons"])) == (3600, 1)
    assert [s["season_s"] for s in both["seasons"]] == [86400, 3600]
    noise = sum(row(rng.normal(size=4000), period_s=300)["season_s"] is not None for _ in range(10))
    assert noise <= 1


@given(st.integers(0, 1000), st.sampled_from([0.02, 0.2, 1.0]))
@settings(max_examples=25, deadline=None)
def test_no_correlation_is_beyond_one(seed, rate):
    counts = np.random.default_rng(seed).poisson(rate, 400)
    got = lags(several(counts, np.roll(counts, 5)))
    for name in ("correlation", "surprise_correlation"):
        assert got[name].drop_nulls().abs().le(1).all()


def test_bursts_of_errors_that_know_nothing_of_each_other_are_unrelated():
    sure = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        series = []
        for k in range(4):
            errors = rng.poisson(0.05, 1500) + np.repeat(rng.random(250) < 0.02, 6) * rng.poisson(5, 1500)
            series.append(points(errors, name=f"s{k}"))
        sure += (lags(pl.concat(series))["q"] < 0.05).sum()
    assert sure <= 2


@pytest.mark.parametrize("wrong", [True, float("inf"), -1, "1h"])
def test_a_lag_is_a_number_of_seconds(wrong):
    with pytest.raises(InputError, match="max_lag_s"):
        lags(pl.concat([points([1.0, 2.0]), points([1.0, 2.0], name="b")]), max_lag_s=wrong)
