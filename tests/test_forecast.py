import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.frames import FORECASTS, InputError
from lift_insights.models import counts, rehearsal
from lift_insights.models.forecast import forecast
from lift_insights.models.forecasters import FORECASTERS, Past, able

START = datetime(2026, 3, 1, tzinfo=UTC)


def points(values, period_s=3600, name="a"):
    times = [START + timedelta(seconds=period_s * i) for i in range(len(values))]
    schema = {"series": pl.String, "timestamp": pl.Datetime("us", "UTC"), "value": pl.Float64}
    return pl.DataFrame({"series": [name] * len(values), "timestamp": times, "value": list(map(float, values))}, schema)


def daily(days, seed=0, noise=3.0):
    i = np.arange(days * 24)
    return 100 + 30 * np.sin(2 * np.pi * i / 24) + np.random.default_rng(seed).normal(0, noise, len(i))


def test_the_frame_and_its_times():
    got = forecast(pl.concat([points(daily(10)), points(np.arange(30), 60, "b")]), 5)
    assert dict(got.schema) == FORECASTS.columns
    assert got["series"].to_list() == ["a"] * 5 + ["b"] * 5
    assert got["timestamp"][0] == START + timedelta(days=10)
    assert got["timestamp"][9] == START + timedelta(minutes=34)
    assert (got["lo"] <= got["mean"]).all()
    assert (got["mean"] <= got["hi"]).all()


def test_seasonal_naive_is_yesterday():
    y = daily(5)
    got = forecast(points(y), 30, model="seasonal_naive")
    assert got["mean"].to_list() == pytest.approx([*y[-24:], *y[-24:-18]])
    assert got["model"].unique().to_list() == ["seasonal_naive"]


def test_drift_continues_a_line_and_theta_half_of_it():
    line = 10 + 2.0 * np.arange(200)
    drift = forecast(points(line), 10, model="drift")["mean"].to_numpy()
    assert np.allclose(drift, 410 + 2.0 * np.arange(10))
    theta = forecast(points(line, 86400), 10, model="theta")["mean"].to_numpy()
    assert np.allclose(np.diff(theta), 1)


def test_profile_is_the_median_of_the_times_of_day():
    y = np.tile(np.arange(24.0), 6)
    y[30] = 1e6
    assert forecast(points(y), 24, model="profile")["mean"].to_list() == pytest.approx(list(range(24)), abs=1e-6)


def test_auto_beats_the_naive_on_noisy_rhythm_and_sees_the_week():
    y = daily(11, noise=10)
    came = daily(1, noise=0)
    error = {
        m: np.abs(forecast(points(y[:240]), 24, model=m)["mean"].to_numpy() - came).mean()
        for m in ("auto", "seasonal_naive")
    }
    assert error["auto"] < 0.7 * error["seasonal_naive"]
    i = np.arange(28 * 24)
    weekly = np.where((i // 24) % 7 >= 5, 20.0, 100.0) + 10 * np.sin(2 * np.pi * i / 24)
    got = forecast(points(weekly[: 26 * 24]), 24)
    assert np.abs(got["mean"].to_numpy() - weekly[26 * 24 : 27 * 24]).mean() < 10


def test_intervals_hold_what_they_promise_on_clean_data():
    rng = np.random.default_rng(11)
    held = {0.95: [], 0.8: []}
    for k in range(24):
        noise = (rng.normal(0, 5, 360), rng.exponential(8, 360), rng.poisson(4, 360))[k % 3]
        y = 40 + 15 * np.sin(2 * np.pi * np.arange(360) / 24) + noise
        for level, shares in held.items():
            got = forecast(points(y[:336]), 24, level=level)
            shares.append(((y[336:] >= got["lo"].to_numpy()) & (y[336:] <= got["hi"].to_numpy())).mean())
    assert 0.92 <= np.mean(held[0.95]) <= 0.995
    assert 0.75 <= np.mean(held[0.8]) <= 0.95


def test_a_higher_level_is_wider():
    y = points(daily(10))
    wide, narrow = (forecast(y, 24, level=level, model="profile") for level in (0.95, 0.5))
    assert (wide["hi"] >= narrow["hi"]).all()
    assert (wide["lo"] <= narrow["lo"]).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(8, 300),
    kind=st.sampled_from(["normal", "walk", "counts", "heavy", "steps"]),
    levels=st.lists(st.floats(0.01, 0.999), min_size=2, max_size=4, unique=True),
)
def test_a_higher_level_contains_a_lower_one(seed, n, kind, levels):
    rng = np.random.default_rng(seed)
    y = {
        "normal": lambda: rng.normal(size=n),
        "walk": lambda: np.cumsum(rng.normal(size=n)),
        "counts": lambda: rng.poisson(0.3, n),
        "heavy": lambda: rng.standard_cauchy(n),
        "steps": lambda: np.repeat(rng.integers(0, 5, n), 9)[:n],
    }[kind]().astype(float)
    told = [forecast(points(y), 12, level=level) for level in sorted(levels)]
    for narrow, wide in pairwise(told):
        slack = 1e-9 * (1 + np.abs(y).max())
        assert (wide["lo"] <= narrow["lo"] + slack).all()
        assert (wide["hi"] >= narrow["hi"] - slack).all()
        assert narrow["mean"].equals(wide["mean"])


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_each_level_is_held_on_clean_days(level):
    held = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        y = 100 + 30 * np.sin(2 * np.pi * np.arange(15 * 48) / 48) + rng.standard_t(4, 15 * 48) * 5
        got = forecast(points(y[: 14 * 48], 1800), 48, level=level)
        lo, hi = got["lo"].to_numpy(), got["hi"].to_numpy()
        held.append(((y[14 * 48 :] >= lo) & (y[14 * 48 :] <= hi)).mean())
    assert abs(np.mean(held) - level) < 0.07


def test_nothing_negative_where_the_series_never_was():
    errors = np.random.default_rng(1).poisson(0.05, 2000)
    got = forecast(points(errors, 300), 288)
    assert got["lo"].min() >= 0
    assert got["mean"].min() >= 0
    assert forecast(points(daily(10) - 100), 24)["lo"].min() < 0
    latency = np.random.default_rng(1).exponential(5, 24 * 14)
    for model in ("auto", "level", "drift", "profile"):
        got = forecast(points(latency), 24, model=model)
        assert got["lo"].min() == 0 <= got["mean"].min()
        assert forecast(points(latency - 1), 24, model=model)["lo"].min() < 0


def test_gaps_are_bridged_and_order_does_not_matter():
    whole = points(daily(10))
    holes = whole.filter(pl.int_range(pl.len()) % 9 != 4)
    told, full = forecast(holes.sample(fraction=1, shuffle=True, seed=1), 24), forecast(whole, 24)
    assert told["timestamp"].equals(full["timestamp"])
    assert np.abs(told["mean"].to_numpy() - full["mean"].to_numpy()).mean() < 6


@pytest.mark.parametrize("n", range(1, 12))
def test_short_series_fall_back(n):
    got = forecast(points(np.arange(n) + 1.0, 300), 20)
    assert len(got) == 20
    assert got["mean"].is_finite().all()
    assert got["lo"].is_null().all() == (n == 1)


def test_a_horizon_longer_than_the_history_widens():
    got = forecast(points(np.random.default_rng(3).normal(size=60) - 5), 300, model="level")
    width = (got["hi"] - got["lo"]).to_numpy()
    assert width[-1] > 2 * width[0] > 0


def test_bad_input():
    good = points(daily(3))
    for wrong, says in (
        ({"horizon": 0}, "at least 1"),
        ({"horizon": 2.5}, "whole number"),
        ({"horizon": 1, "level": 95}, "between 0 and 1"),
        ({"horizon": 1, "model": "arima"}, "seasonal_naive"),
        ({"horizon": 1, "prophet": {"country": "US"}}, "model='prophet' only"),
    ):
        with pytest.raises(InputError, match=says):
            forecast(good, **wrong)
    assert len(forecast(points([]), 3)) == 0
    assert len(forecast(points([float("nan")] * 5), 3)) == 0
    assert isinstance(forecast(good.to_pandas(), 3), pd.DataFrame)


def test_prophet_absent_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "prophet", None)
    with pytest.raises(InputError, match=r"lift_insights\[prophet\]"):
        forecast(points(daily(3)), 3, model="prophet")


@pytest.mark.filterwarnings("ignore")
def test_prophet_is_the_same_each_time_and_leaves_the_generator_alone():
    pytest.importorskip("prophet")
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (forecast(points(daily(4)), 24, model="prophet") for _ in range(2))
    assert first.equals(second)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert first["model"].unique().to_list() == ["prophet"]
    assert np.abs(first["mean"].to_numpy() - daily(1, noise=0)).mean() < 15


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=120), st.integers(1, 60), st.sampled_from([300, 3600, 86400])
)
@settings(max_examples=50, deadline=None)
def test_any_series_has_a_forecast(values, horizon, period_s):
    got = forecast(points(values, period_s), horizon)
    assert len(got) == horizon
    assert got["mean"].is_finite().all()
    assert got.filter(pl.col("lo") > pl.col("mean")).is_empty()
    if min(values) >= 0:
        assert got["mean"].min() >= 0


def test_prophet_is_quiet_in_a_process_of_its_own():  # pytest's own log handlers would hide cmdstanpy's
    pytest.importorskip("prophet")
    code = (  # an hourly ramp of three days
        "import polars as pl; from datetime import datetime, UTC, timedelta as d\n"
        "from lift_insights.models.forecast import forecast\n"
        "p = pl.DataFrame({'series': 'a', 'timestamp': [datetime(2026, 3, 1, tzinfo=UTC) + d(hours=i)"
        " for i in range(72)],"
        " 'value': [float(i % 24) for i in range(72)]})\n"
        "forecast(p, 3, model='prophet')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "INFO" not in done.stderr + done.stdout


# --- forecasters


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200), st.integers(1, 40), st.integers(1, 10))
@settings(max_examples=60, deadline=None)
def test_a_shape_is_the_median_of_each_slot(values, season, rounds):
    if season > len(values):
        return
    kept = min(rounds, len(values) // season)
    slots = [np.median([values[len(values) - (k + 1) * season + i] for k in range(kept)]) for i in range(season)]
    assert np.allclose(Past(np.array(values), 24).shape(season, rounds), slots)


def test_shapes_of_few_rounds_are_smoothed_and_remembered():
    past = Past(np.tile(np.eye(1, 96)[0] * 3, 3), 96)
    assert past.shape(96, 3)[[95, 0, 1]].tolist() == [1, 1, 1]
    assert past.shape(96, 3) is past.shape(96, 9)


@pytest.mark.parametrize("name", FORECASTERS)
def test_forecasters_do_not_change_what_they_see_and_scale_with_it(name):
    y = np.random.default_rng(2).normal(50, 9, 24 * 15)
    copy = y.copy()
    told = FORECASTERS[name](Past(y, 24), 30)
    assert (y == copy).all()
    assert np.allclose(FORECASTERS[name](Past(3 * y - 7, 24), 30), 3 * told - 7)


def test_what_a_profile_makes_of_a_new_level():
    y = np.tile(np.arange(24.0), 14)
    y[-24:] += 100  # a day long
    usual = np.arange(24.0)
    told = {name: (FORECASTERS[name](Past(y, 24), 24) - usual).round(6) for name in FORECASTERS if "profile" in name}
    assert (told["steady_profile"] == 0).all()
    assert (told["held_profile"] == 100).all()
    assert 40 < told["slow_profile"][-1] < told["slow_profile"][0] < 100
    assert told["profile"][-1] < 10 < 80 < told["profile"][0]


def test_who_is_able():
    assert able(7, 1) == able(71, 24) == ["level", "day_level", "long_level", "smooth", "drift", "theta"]
    assert "profile" in able(72, 24)
    assert "week_profile" not in able(263, 24)
    assert "week_profile" in able(264, 24)
    assert able(21, 1)[-1] == "week_profile"  # days know weekdays too
    assert "profile" not in able(21, 1)


def test_days_know_the_weekday():
    y = np.tile([5.0, 5, 5, 5, 5, 1, 1], 8) + np.random.default_rng(0).normal(0, 0.1, 56)
    got = forecast(points(y, 86400), 7)["mean"].to_numpy()
    assert np.abs(got - [5, 5, 5, 5, 5, 1, 1]).max() < 0.5


# --- rehearsal


def tried(seed=0, n=24 * 12, h=24, names=None):
    rng = np.random.default_rng(seed)
    y = 50 + 20 * np.sin(np.arange(n) * 2 * np.pi / 24) + rng.normal(0, 5, n)
    seen = rng.uniform(size=n) > 0.1
    return y, rehearsal.rehearse(y, seen, h, 24, names or able(n, 24))


def test_rehearsals_know_only_what_was_known():
    y, got = tried()
    for i in (0, 11, 23):
        later = y.copy()
        later[got.origins[i] :] = 1e6
        again = rehearsal.rehearse(later, np.ones(len(y), bool), 24, 24, list(got.names))
        assert (again.told[:, : i + 1] == got.told[:, : i + 1]).all()
    assert got.origins[-1] == len(y) - 24
    assert len(tried(h=1)[1].origins) == 96


def test_choosing_is_the_slow_twin():
    _, got = tried(names=able(200, 24))  # without weekdays
    best, errors = rehearsal.choose(got)

    def twin(past):
        total = []
        for m in range(len(got.names)):
            each = [np.nanmean(np.abs(got.told[m, i] - got.came[i])) for i in past]
            age = [(len(past) - 1 - k) / (0.4 * len(got.origins)) for k in range(len(past))]
            total.append(sum(0.5**a * e for a, e in zip(age, each)))
        return np.array([m for m in np.argsort(total, kind="stable")[:3] if total[m] <= 2 * min(total)])

    assert best == twin(range(len(got.origins))).tolist()
    for i, origin in enumerate(got.origins):
        past = [k for k in range(len(got.origins)) if got.origins[k] + 24 <= origin]
        used = twin(past) if len(past) >= 2 else slice(None)
        want = got.came[i] - np.median(got.told[used, i], axis=0)
        assert np.allclose(errors[i], want, equal_nan=True)


def test_what_was_not_published_is_no_evidence():
    y, got = tried()
    assert np.isnan(got.came).mean() == pytest.approx(0.1, abs=0.04)
    wrong = rehearsal.Rehearsal(
        got.names, got.origins, got.told + np.where(np.isnan(got.came), 1e9, 0), got.came, got.day
    )
    assert rehearsal.choose(wrong)[0] == rehearsal.choose(got)[0]
    low, high = rehearsal.widths(rehearsal.choose(wrong)[1], got.origins, y, 24, 24, 0.95)
    assert max(low.max(), high.max()) < 40
    none = rehearsal.widths(np.full((24, 24), np.nan), got.origins, y, 24, 24, 0.95)
    assert none[0].tolist() == [0] * 24


def test_alike():
    rng = np.random.default_rng(1)
    common, own = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 6))
    for share in (0.0, 0.3, 0.8, 1.0):
        errors = np.sqrt(share) * common + np.sqrt(1 - share) * own
        assert rehearsal._alike(errors) == pytest.approx(share, abs=0.03)
    assert rehearsal._alike(np.zeros((5, 3))) == 0
    assert rehearsal._alike(rng.normal(size=(9, 1))) == 0


def test_widths_of_many_errors_are_their_quantiles():
    rng = np.random.default_rng(1)
    origins = np.arange(100, 20100, 20)
    low, high = rehearsal.widths(rng.normal(0, 2, (1000, 24)), origins, np.tile([0.0, 1], 11000), 24, 48, 0.9)
    assert np.allclose(low[:24], 3.29, atol=0.1)
    assert np.allclose(high[:24], 3.29, atol=0.1)
    assert low[47] == pytest.approx(low[23] * np.sqrt(2))
    skew = rehearsal.widths(rng.exponential(2, (1000, 24)), origins, np.tile([0.0, 1], 11000), 24, 24, 0.9)
    assert skew[0].max() < skew[1].min()


@pytest.mark.parametrize(("factor", "wider"), [(1, 1), (1.5, 1.5), (30, 2), (0.8, 0.8), (0.01, 0.5)])
def test_a_restless_present_widens_by_at_most_two(factor, wider):
    errors, origins = np.random.default_rng(1).normal(0, 1, (24, 24)), np.linspace(72, 200, 24).astype(int)
    y = (-1.0) ** (np.arange(288) // 24)  # from day to day it changes by 2
    restless = y * np.where(np.arange(288) >= 216, factor, 1)
    plain, other = (rehearsal.widths(errors, origins, v, 24, 24, 0.95) for v in (y, restless))
    assert np.allclose(other[0], wider * plain[0])
    assert np.allclose(other[1], wider * plain[1])


# --- counts


@pytest.mark.parametrize(("size", "begin", "end"), [(20, 96, 210), (800, 96, 210), (100, 36, 48)])
def test_what_the_clock_decides_is_no_rare_event(size, begin, end):
    rng, day = np.random.default_rng(size), np.arange(288 * 14) % 288
    open_ = (day >= begin) & (day < end)
    x = np.where(open_, rng.poisson(size, len(day)), 0.0)
    frame = forecast(points(x[:-288], 300), 288)
    assert frame["model"][0] != "counts"
    told = frame["mean"].to_numpy()
    assert np.abs(told - x[-288:]).mean() < (0.1 * size + size**0.5) * open_.mean()
    assert told[~open_[:288]].max() < 0.02 * size


def test_mostly_zero():
    rare = np.array([0.0, 0, 0, 3, 0, 0, 1, 0])
    assert counts.mostly_zero(rare)
    for other in (rare + 0.5, rare - 1, rare * 1000, 0 * rare, rare[:7], rare[::-1] + 1, rare / 2):
        assert not counts.mostly_zero(other)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.4])
def test_counts_of_a_poisson_process_are_its_mean_and_quantile(rate):
    from scipy.stats import poisson

    y = np.random.default_rng(3).poisson(rate, 288 * 28)
    mean, hi = counts.forecast_counts(y.astype(float), np.ones(len(y), bool), 288, 288, 0.95)
    assert mean.mean() == pytest.approx(rate, rel=0.35)
    least = max(poisson.ppf(0.95, rate), 1)  # a positive mean has an upper end of 1
    assert least <= np.median(hi) <= least + 1
    assert (hi == np.floor(hi)).all()


def test_counts_in_auto_hold_what_they_promise():
    rng = np.random.default_rng(8)
    held, expected, came = [], 0.0, 0.0
    for k in range(12):
        i = np.arange(24 * 22)
        rate = np.where(i % 24 < 12, 0.05, 0.6) * (1, 2, 0.3)[k % 3]
        y = rng.poisson(rate) * (1 if k % 2 else rng.integers(1, 6, len(i)))
        got = forecast(points(y[:-24]), 24)
        if got["model"][0] != "counts":
            continue
        held.append((y[-24:] <= got["hi"].to_numpy()).mean())
        expected, came = expected + got["mean"].sum(), came + y[-24:].sum()
    assert len(held) > 8
    assert np.mean(held) >= 0.93
    assert expected == pytest.approx(came, rel=0.3)


@given(
    st.lists(st.sampled_from([0, 0, 0, 0, 0, 1, 2, 50]), min_size=8, max_size=200),
    st.integers(1, 50),
    st.sampled_from([1, 24, 288]),
    st.floats(0.5, 0.99),
)
@settings(max_examples=60, deadline=None)
def test_counts_are_counts(values, h, day, level):
    y = np.array(values, float)
    mean, hi = counts.forecast_counts(y, np.ones(len(y), bool), h, day, level)
    assert len(mean) == len(hi) == h
    assert (mean >= 0).all()
    assert (hi >= mean).all()
    assert (hi == np.floor(hi)).all()
    assert mean.max() <= y.max()


def test_unpublished_counts_do_not_count():
    means = []
    for seed in range(20):
        y = np.random.default_rng(seed).poisson(0.2, 1000).astype(float)
        seen = np.arange(1000) % 3 > 0
        one, two = (counts.forecast_counts(np.where(seen, y, junk), seen, 24, 24, 0.95) for junk in (0.0, 99.0))
        assert all((a == b).all() for a, b in zip(one, two))
        means.append(one[0].mean())
    assert np.mean(means) == pytest.approx(0.2, rel=0.15)


# --- bad input


def test_odd_points_are_answered():
    whole = points(daily(10))
    odd = pl.concat([whole, whole.head(30), points([np.inf, -np.inf, np.nan, np.nan])]).sample(
        fraction=1, shuffle=True, seed=3
    )
    got = forecast(odd, 24)
    assert got["timestamp"].equals(forecast(whole, 24)["timestamp"])
    assert np.abs(got["mean"].to_numpy() - forecast(whole, 24)["mean"].to_numpy()).max() < 1e-9
    with pytest.raises(InputError, match="time zone"):
        forecast(whole.with_columns(pl.col("timestamp").dt.replace_time_zone(None)), 24)
    berlin = whole.with_columns(pl.col("timestamp").dt.convert_time_zone("Europe/Berlin"))
    assert forecast(berlin, 24).equals(forecast(whole, 24))
    with pytest.raises(InputError, match="never negative"):
        forecast(points(daily(10) - 200), 3, model="counts")


def test_what_never_moved_stays():
    got = forecast(points([7.0] * 100), 30)
    assert got.select(pl.col("mean", "lo", "hi") == 7).to_numpy().all()
    assert forecast(points([0.0] * 100), 30)["hi"].max() == 0


def test_a_broken_sensor_is_no_evidence():
    y = points(daily(14))
    silent = y.filter(~pl.int_range(pl.len()).is_between(24 * 8, 24 * 10))
    width = [(f["hi"] - f["lo"]).mean() for f in (forecast(y, 24), forecast(silent, 24))]
    assert 0.6 < width[1] / width[0] < 1.7


def test_prophet_takes_its_options():
    pytest.importorskip("prophet")
    with pytest.raises(InputError, match="does not take"):
        forecast(points(daily(3)), 3, model="prophet", prophet={"nonsense": 1})
    with pytest.raises(InputError, match="does not take"):
        forecast(points(daily(3)), 3, model="prophet", prophet={"country": "Atlantis"})


def test_a_model_far_ahead_is_alone():
    came = np.zeros((8, 4))
    told = np.array([came + 5, came + 0.1, came - 1.2])
    got = rehearsal.Rehearsal(("far", "near", "other"), np.arange(20, 100, 10), told, came, 4)
    best, errors = rehearsal.choose(got)
    assert best == [1]
    assert np.allclose(errors[1:3], -0.1)


# --- gaps that mean zero


def test_silence_may_be_zero():
    rng = np.random.default_rng(6)
    y = rng.poisson(0.08, 288 * 10).astype(float)
    y[-200:] = 0
    y[:9] = 0
    dense = points(y, 300, "errors")
    traffic = points(50 + rng.normal(0, 1, len(y)), 300, "traffic")
    sparse = dense.filter(pl.col("value") > 0)
    want = forecast(dense, 288)
    got = forecast(pl.concat([traffic, sparse]), 288, gaps="zero").filter(pl.col("series") == "errors")
    assert got.equals(want)
    assert got["model"][0] == "counts"
    bridged = forecast(sparse, 288)
    assert bridged["mean"].min() >= 1  # what it looks like otherwise
    assert forecast(traffic, 9, gaps="zero").equals(forecast(traffic, 9))


def test_silence_is_zero_for_a_single_error_too():
    frame = pl.concat([points(np.ones(500), 300, "traffic"), points([1.0], 300, "errors")])
    got = forecast(frame, 5, gaps="zero").filter(pl.col("series") == "errors")
    assert got["mean"].max() < 0.1
    odd = pl.concat([points([1.0, 1, 1], 7, "a"), points([1.0], name="a", period_s=1).with_columns(
        pl.col("timestamp") + timedelta(days=40, milliseconds=300)
    )])  # fmt: skip
    assert forecast(odd, 3, gaps="zero")["mean"].max() < 0.1
    for wrong in ({"gaps": "none"}, {"gaps": "zero", "model": "prophet"}):
        with pytest.raises(InputError, match="gaps needs"):
            forecast(frame, 5, **wrong)
    assert len(forecast(points([]), 5, gaps="zero")) == 0


@pytest.mark.filterwarnings("ignore")
def test_prophet_knows_holidays():
    pytest.importorskip("prophet")
    days = np.arange(365 * 3 - 70)  # from 1 March 2026
    dates = [(START + timedelta(days=int(d))).date() for d in days]
    feast = [d.month == 12 and d.day == 25 for d in dates]
    y = 100 + np.random.default_rng(0).normal(0, 1, len(days)) - 60.0 * np.array(feast)
    cut = next(i for i in range(len(days) - 1, 0, -1) if feast[i]) - 5
    told = {
        name: forecast(points(y[:cut], 86400), 10, model="prophet", prophet=options)["mean"].to_numpy()[5]
        for name, options in (("without", {"yearly_seasonality": False}), ("with", {"yearly_seasonality": False, "country": "US"}))
    }  # fmt: skip
    assert told["with"] < 60 < 90 < told["without"]


# --- short histories


@pytest.mark.parametrize("n", [60, 300, 580])
@pytest.mark.parametrize("h", [1, 12])
def test_intervals_of_less_than_two_days_hold_what_they_promise(n, h):
    rng = np.random.default_rng(3)
    noise = (rng.normal(0, 1, (40, n + h)), rng.exponential(1, (40, n + h)), rng.standard_t(4, (40, n + h)))
    came = np.concatenate([50 + v for v in noise])
    got = forecast(pl.concat([points(y[:n], 300, f"s{i}") for i, y in enumerate(came)]), h)
    lo, hi = (got[c].to_numpy().reshape(-1, h) for c in ("lo", "hi"))
    held = ((came[:, n:] >= lo) & (came[:, n:] <= hi)).mean()
    assert 0.89 <= held <= 0.99  # 120 series: three standard errors of one step each are 0.06


@pytest.mark.parametrize(
    ("n", "day", "h"), [(60, 288, 1), (570, 288, 12), (1152, 288, 288), (1000, 24, 24), (8, 1440, 2)]
)
def test_there_are_many_rehearsals_of_a_short_history(n, day, h):
    got = rehearsal.rehearse(np.arange(float(n)), np.ones(n, bool), h, day, ["level"])
    assert got.origins[0] == (min(max(2 * day, n // 4), n - h) if n >= 4 * day else n // 2)
    assert got.origins[-1] == n - h
    assert len(got.origins) >= min(24, n - h - got.origins[0] + 1)


# --- at the door


def test_bad_scalars():
    good = points(daily(5))
    for wrong, says in (
        ({"horizon": True}, "whole number"),
        ({"horizon": "5"}, "whole number"),
        ({"horizon": 5, "level": "x"}, "between 0 and 1"),
        ({"horizon": 5, "level": None}, "between 0 and 1"),
        ({"horizon": 5, "level": True}, "between 0 and 1"),
        ({"horizon": 5, "level": np.nan}, "between 0 and 1"),
        ({"horizon": 5, "model": "prophet", "prophet": "US"}, "dict"),
    ):
        with pytest.raises(InputError, match=says):
            forecast(good, **wrong)
    assert len(forecast(good, np.int64(3), level=np.float64(0.5))) == 3
    with pytest.raises(InputError, match="10 of 120 rows have none"):
        forecast(good.with_columns(series=pl.when(pl.int_range(pl.len()) >= 10).then("series")), 3)


# --- uneven times


def uneven(seconds):
    y = points(np.resize(daily(10), len(seconds)))
    return y.with_columns(pl.lit(START) + pl.duration(microseconds=pl.Series((seconds * 1e6).astype(int)))).select(
        "series", timestamp="literal", value="value"
    )


def test_a_forecast_of_nearly_even_times_is_on_even_ones():
    rng = np.random.default_rng(1)
    frame = uneven(300 * np.arange(1000) + rng.normal(0, 0.5, 1000))
    got = forecast(frame, 288)["timestamp"]
    assert got.to_list() == [START + timedelta(seconds=300 * (1000 + i)) for i in range(288)]


def test_a_forecast_of_times_as_they_like_reaches_as_far_as_their_steps():
    frame = uneven(np.cumsum(np.random.default_rng(1).exponential(300, 1000)))
    got = forecast(frame, 100)["timestamp"]
    usual = frame["timestamp"].diff().median()
    assert got[-1] - got[0] == pytest.approx(99 * usual, abs=timedelta(seconds=99))
    assert timedelta(0) < got[0] - frame["timestamp"].max() < 2 * usual


def test_nearly_even_times_are_made_even_where_silence_is_zero():
    rng = np.random.default_rng(1)
    frame = uneven(300 * np.flatnonzero(rng.uniform(size=1000) < 0.9))
    late = frame.with_columns(
        pl.col("timestamp") + pl.duration(milliseconds=pl.Series(rng.integers(0, 800, len(frame))))
    )
    got = forecast(late, 50, gaps="zero")
    assert got["timestamp"].diff().drop_nulls().unique().to_list() == [timedelta(seconds=300)]
    want = forecast(frame, 50, gaps="zero")
    assert np.abs(got["mean"].to_numpy() - want["mean"].to_numpy()).max() < 1e-6
