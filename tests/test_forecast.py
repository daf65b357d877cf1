import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.frames import FORECASTS, InputError
from lift_insights.models import forecast as module
from lift_insights.models.forecast import forecast

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
    drift = forecast(points(line, 86400), 10, model="drift")["mean"].to_numpy()
    assert np.allclose(np.diff(drift), 2)
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


def test_nothing_negative_where_the_series_never_was():
    errors = np.random.default_rng(1).poisson(0.05, 2000)
    got = forecast(points(errors, 300), 288)
    assert got["lo"].min() >= 0
    assert got["mean"].min() >= 0
    assert forecast(points(daily(10) - 100), 24)["lo"].min() < 0


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


def test_choice_is_the_least_error():
    told = np.zeros((3, 2, 4))
    told[0], told[1], told[2] = 5, 1, -1.2
    assert module._choose(told, np.zeros((2, 4)), ["far", "above", "below"]) == ("above", "below")


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
