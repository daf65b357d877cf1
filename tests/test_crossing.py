"""When a series will cross a threshold: exact where the future is sure, calibrated where it is not."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.frames import InputError
from lift_insights.models import crossing, forecast
from lift_insights.models.crossing import time_to

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TIMES = ("early", "median", "late")


def points(values, period_s=3600, name="a", start=START):
    times = [start + timedelta(seconds=period_s * i) for i in range(len(values))]
    schema = {"series": pl.String, "timestamp": pl.Datetime("us", "UTC"), "value": pl.Float64}
    return pl.DataFrame({"series": [name] * len(values), "timestamp": times, "value": list(map(float, values))}, schema)


def one(values, threshold, **kwargs):
    return time_to(points(values, kwargs.pop("period_s", 3600)), threshold, **kwargs).row(0, named=True)


def made(kind, seed, days, a_day=24):
    """A series that grows by 0.5 to 3 a day."""
    rng = np.random.default_rng(seed)
    n = days * a_day
    day = np.arange(n) / a_day
    line = 50 + rng.uniform(0.5, 3) * day
    if kind == "walk":
        return line + np.cumsum(rng.normal(0, 4 / np.sqrt(a_day), n))
    rhythm = 10 * np.sin(2 * np.pi * day) if kind == "rhythm" else 0
    return line + rhythm + rng.normal(0, 3, n)


@pytest.mark.parametrize("period_s", [300, 3600, 86400])
@pytest.mark.parametrize("fall", [1, -1])
def test_a_straight_line_has_its_date(period_s, fall):
    n = 20 * 86400 // period_s if period_s < 86400 else 60
    per_day = 86400 / period_s
    y = fall * np.arange(n) * 2 / per_day
    got = one(y, fall * (2 * n / per_day + 20), period_s=period_s)  # ten days ahead
    assert got["direction"] == ("above" if fall > 0 else "below")
    assert got["slope_per_day"] == pytest.approx(2 * fall)
    assert got["probability"] == 1
    due = START + n * timedelta(seconds=period_s) + 10 * DAY
    for key in TIMES:
        assert abs(got[key] - due) <= 1.1 * max(timedelta(hours=3), timedelta(seconds=period_s))


def test_it_is_found_in_forecast_too():
    assert forecast.time_to is time_to


@pytest.mark.parametrize("kind", ["line", "walk", "rhythm"])
def test_dates_and_probabilities_hold_what_they_promise(kind):
    inside, squared, crossed = [], [], []
    for seed in range(60):
        y = made(kind, 100 + seed, 21 + 40)
        known, came = y[: 21 * 24], y[21 * 24 :]
        threshold = np.median(known[-24:]) + np.random.default_rng(seed).uniform(12, 90)
        got = one(known, threshold, days=40, level=0.8, direction="above", paths=400)
        hit = np.flatnonzero(came >= threshold)
        when = START + timedelta(hours=21 * 24 + int(hit[0])) if len(hit) else datetime.max.replace(tzinfo=UTC)
        block = timedelta(hours=3)
        early, late = ((got[k] or datetime.max.replace(tzinfo=UTC) - block) for k in ("early", "late"))
        inside.append(early - block <= when <= late + block)
        crossed.append(len(hit) > 0)
        squared.append((got["probability"] - crossed[-1]) ** 2)
    rate = np.mean(crossed)
    assert np.mean(inside) >= 0.7  # 80 % promised, 60 drawn: 5 in 100 would be below 0.71
    assert np.mean(squared) < (0.3 if kind != "walk" else 1.1) * rate * (1 - rate)


@given(st.integers(0, 1000), st.floats(1, 300), st.floats(0, 200))
@settings(max_examples=30, deadline=None)
def test_a_higher_line_is_reached_later_and_less_surely(seed, first, more):
    y = made("walk", seed, 10)
    near, far = (one(y, 60 + v, direction="above", paths=200) for v in (first, first + more))
    assert near["probability"] >= far["probability"]
    for key in TIMES:
        if far[key] is not None:
            assert near[key] <= far[key]


@given(st.integers(0, 1000), st.floats(-100, 200), st.sampled_from(["value", "level"]))
@settings(max_examples=30, deadline=None)
def test_below_is_above_upside_down(seed, threshold, of):
    y = made("rhythm", seed, 8)
    up, down = (one(s * y, s * threshold, of=of, paths=200, direction=d) for s, d in ((1, "above"), (-1, "below")))
    assert up["now"] == -down["now"]
    assert all(up[k] == down[k] for k in ("probability", *TIMES))


@given(st.integers(0, 1000), st.integers(5, 60), st.floats(0.05, 0.95), st.floats(0.01, 0.04))
@settings(max_examples=30, deadline=None)
def test_times_are_in_order_and_a_higher_level_is_wider(seed, days, level, more):
    y = made("walk", seed, 12)
    tight, wide = (one(y, y[-1] + 15, days=days, level=v, paths=200) for v in (level, level + more))
    for got in (tight, wide):
        known = [got[k] for k in TIMES if got[k] is not None]
        assert known == sorted(known)
        assert [got[k] is None for k in TIMES] == sorted(got[k] is None for k in TIMES)
        assert all(START + 12 * DAY - 2 * DAY <= t <= got["until"] + DAY / 8 for t in known)
        assert 0 <= got["probability"] <= 1
    if tight["late"] is None:
        assert wide["late"] is None
    elif wide["late"] is not None:
        assert wide["early"] <= tight["early"] <= tight["late"] <= wide["late"]


@given(st.integers(0, 1000), st.sampled_from([0.25, 4.0]))
@settings(max_examples=20, deadline=None)
def test_units_do_not_matter(seed, factor):
    y = made("line", seed, 9)
    plain, scaled = (one(f * y, f * 90, paths=200) for f in (1.0, factor))
    assert all(plain[k] == scaled[k] for k in ("probability", *TIMES))


def test_the_usual_value_crosses_after_the_first_burst():
    rng = np.random.default_rng(1)
    y = np.arange(480) / 12 + rng.normal(0, 0.2, 480) + 15 * (rng.uniform(size=480) < 0.05)
    value, usual = (one(y, 80, of=of) for of in ("value", "level"))
    assert value["median"] < usual["early"]
    assert abs(usual["median"] - START - 40 * DAY) < DAY / 2


def test_the_rhythm_is_not_taken_for_a_trend():
    hour = np.arange(24 * 10 + 8)
    got = one(100 + 30 * np.sin(2 * np.pi * hour / 24), 140)
    assert abs(got["slope_per_day"]) < 0.3
    assert got["probability"] < 0.05
    assert one(100 + 30 * np.sin(2 * np.pi * hour / 24), 129)["median"] < START + 12 * DAY


def test_noise_and_wander_are_told_apart():
    rng = np.random.default_rng(4)
    noise, steps = rng.normal(0, 2, (50, 400)), rng.normal(0, 0.5, (50, 400))
    found = np.array([crossing._noise_and_wander(n + np.cumsum(s)) for n, s in zip(noise, steps)])
    assert np.median(found[:, 0]) == pytest.approx(4, rel=0.15)
    assert np.median(found[:, 1]) == pytest.approx(0.25, rel=0.25)
    still = np.array([crossing._noise_and_wander(n) for n in noise])
    assert np.median(still[:, 1]) < 0.01
    assert crossing._noise_and_wander(np.full(30, 7.0)) == (0, 0)


@pytest.mark.parametrize("distance", [5.0, 20.0, 60.0])
def test_a_walk_crosses_as_the_reflection_principle_says(distance):
    """Twice the chance to be beyond at the end, of Student's t since the step is unsure; 0.583 steps for discrete time."""
    from scipy.stats import t

    state = crossing._State(0.0, 0.0, 0.0, 0.0, 2.0, np.zeros(8))
    first = crossing._first_crossing(
        state, crossing._Blocks(np.zeros(8), np.zeros(8), 1, 1), distance, 400, "level", 4000
    )
    want = 2 * t.sf((distance + 0.583 * 2) / (2 * np.sqrt(400)), 8)
    assert np.isfinite(first).mean() == pytest.approx(want, abs=0.03)


def test_what_is_beyond_already():
    got = one([50.0] * 100, 40, direction="above")
    assert got["probability"] == 1
    assert got["median"] == START + timedelta(hours=99)
    assert one([50.0] * 100, 40)["direction"] == "below"
    assert one([50.0] * 100, 40)["probability"] == 0


def test_series_have_their_own_thresholds():
    both = pl.concat([points(np.arange(240.0)), points(np.arange(240.0), name="b"), points(np.arange(240.0), name="c")])
    got = time_to(both, {"a": 300, "c": 400, "z": 1})
    assert got["series"].to_list() == ["a", "c"]
    assert got["threshold"].to_list() == [300, 400]
    assert got["median"][0] < got["median"][1]


def test_seconds_of_history_do_not_speak_of_years():
    got = one(np.arange(60.0), 1e6, period_s=1, days=730)
    assert got["until"] == START + timedelta(seconds=60 * 51)
    assert got["probability"] == 0


@pytest.mark.parametrize("n", range(1, 12))
def test_too_little_says_nothing(n):
    got = one(np.arange(n) * 1.0, 50)
    assert (got["probability"] is None) == (n < 8)
    assert got["direction"] == "above"


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=80), st.floats(-1e9, 1e9), st.sampled_from([60, 3600, 86400])
)
@settings(max_examples=60, deadline=None)
def test_any_series_has_an_answer(values, threshold, period_s):
    got = time_to(points(values, period_s), threshold, paths=100)
    assert len(got) == 1
    assert got["probability"].is_null().all() or 0 <= got["probability"][0] <= 1


def test_odd_points_and_gaps_are_answered():
    whole = points(np.arange(480.0))
    holes = whole.filter(~pl.int_range(pl.len()).is_between(100, 160))
    odd = pl.concat([holes, holes.head(9), points([np.inf, np.nan])]).sample(fraction=1, shuffle=True, seed=1)
    for frame in (holes, odd):
        got = time_to(frame, 720).row(0, named=True)
        assert abs(got["median"] - START - 30 * DAY) < DAY / 4
    assert isinstance(time_to(whole.to_pandas(), 720), pd.DataFrame)
    assert len(time_to(points([]), 1)) == len(time_to(points([np.nan] * 9), 1)) == 0
    assert time_to(whole, 720).equals(time_to(whole, 720))


def test_bad_input():
    good = points(np.arange(100.0))
    for wrong, says in (
        ({"threshold": np.nan}, "finite number"),
        ({"threshold": "10"}, "finite number"),
        ({"threshold": {"a": np.inf}}, "finite number"),
        ({"threshold": 1, "days": 0}, "at most 730"),
        ({"threshold": 1, "days": 1000}, "at most 730"),
        ({"threshold": 1, "level": 95}, "between 0 and 1"),
        ({"threshold": 1, "direction": "up"}, "above or below"),
        ({"threshold": 1, "of": "peak"}, "value or level"),
        ({"threshold": 1, "paths": 10}, "100 .* to 10,000"),
        ({"threshold": 1, "paths": 200.5}, "whole number"),
        ({"threshold": 1, "paths": "many"}, "whole number"),
        ({"threshold": True}, "finite number"),
        ({"threshold": {"a": False}}, "finite number"),
        ({"threshold": 1, "days": "a"}, "at most 730"),
        ({"threshold": 1, "days": None}, "at most 730"),
        ({"threshold": 1, "level": "x"}, "between 0 and 1"),
        ({"threshold": 1, "level": None}, "between 0 and 1"),
    ):
        with pytest.raises(InputError, match=says):
            time_to(good, **wrong)
    with pytest.raises(InputError, match="time zone"):
        time_to(good.with_columns(pl.col("timestamp").dt.replace_time_zone(None)), 1)
    with pytest.raises(InputError, match="100 of 100 rows have none"):
        time_to(good.with_columns(series=pl.lit(None, pl.String)), 1)


# --- bursts


@pytest.mark.parametrize("every", [1, 2, 3, 5])
@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_bursts_of_one_height_come_again(every, noise):
    y = 100 + np.random.default_rng(0).normal(0, noise, 480)
    y[13 :: 24 * every] = 500
    got = one(y, 400, direction="above")
    assert got["probability"] > 0.99
    assert got["early"] <= got["median"] < START + 20 * DAY + 2 * every * DAY


def test_what_is_drawn_on_top_is_what_there_was():
    """Shares of what is drawn beside those of the past; beyond the largest, an exponential tail has the mean it should."""
    rng = np.random.default_rng(2)
    above = np.where(rng.uniform(size=800) < 0.06, 300.0, rng.normal(0, 1, 800))
    drawn = crossing._on_top(above, 1, np.zeros(500, int), 400, rng)
    for line in (-1, 0, 1, 150, 299):
        assert (drawn > line).mean() == pytest.approx((above > line).mean(), abs=0.01)
    beyond = []
    for seed in range(300):
        past = np.random.default_rng(seed).exponential(5, 300)
        drawn = crossing._on_top(past, 1, np.zeros(200, int), 200, np.random.default_rng(seed))
        beyond.append(np.exp(-np.quantile(drawn, [0.99, 0.999]) / 5))
    assert np.mean(beyond, axis=0) == pytest.approx([0.01, 0.001], rel=0.35)


# --- lines that cannot be reached, and lines that have been


def test_never_negative_does_not_become_so():
    rng = np.random.default_rng(0)
    y = np.maximum(60 - np.arange(480) / 8 + rng.normal(0, 1, 480), 0)
    got = one(y, -5, direction="below")
    assert got["probability"] == 0
    assert [got[k] for k in TIMES] == [None] * 3
    assert got["now"] >= 0
    assert one(y[:400], 0, direction="below")["probability"] == 1
    assert one(y[:400] - 15, -20, direction="below")["probability"] > 0.9  # has been negative: may be again


@pytest.mark.parametrize("value", [0.0, 50.0, -3.0])
def test_auto_on_the_line(value):
    noise = np.random.default_rng(0).choice([-1.0, 0, 0, 0, 1], 200)
    for y in (np.full(200, value), value + noise):
        got = one(y, value)
        assert (got["direction"], got["probability"]) == ("above", 1)
        assert got["early"] == got["median"] == got["late"] == START + timedelta(hours=199)


# --- uneven times


@pytest.mark.parametrize("period_s", [10, 60, 300, 3600])
def test_nearly_even_times_are_made_even(period_s):
    rng = np.random.default_rng(1)
    for _ in range(20):
        slots = np.flatnonzero(rng.uniform(size=900) < 0.9)
        seconds = 1e9 + period_s * slots + rng.normal(0, period_s / 400, len(slots))
        even = crossing._even(seconds)
        assert (np.diff(even) == period_s * np.diff(slots)).all()
        assert abs(even[0] - 1e9 - period_s * slots[0]) <= (1 if period_s > 300 else 0)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.sampled_from([1, 60, 300, 0.5]))
@settings(max_examples=100, deadline=None)
def test_times_are_moved_by_half_a_step_at_most_and_stay_in_order(gaps, period_s):
    seconds = 1e9 + np.cumsum(gaps) * period_s
    even = crossing._even(seconds)
    steps = np.diff(even)
    assert (steps >= 0).all()
    if even is not seconds:
        assert np.abs(even - seconds).max() <= 1.01 * max(np.median(np.diff(seconds)), 1)
        once = steps[steps > 0]
        assert (
            np.allclose(once / once.min(), np.round(once / once.min()), atol=1e-3) or once.min() > np.median(once) / 2
        )


def test_times_on_a_grid_stay():
    slots = np.flatnonzero(np.random.default_rng(3).uniform(size=4000) < 0.08)
    for seconds in (
        1e9 + 300.0 * slots,
        1e9 + 0.25 * np.arange(99),
        1e9 + 60.4 * np.arange(5000),
        np.array([5.0]),
        np.array([]),
    ):
        assert crossing._even(seconds) is seconds


def test_times_as_they_like_have_their_median_step():
    seconds = np.cumsum(np.random.default_rng(1).exponential(300, 1000))
    steps = np.diff(crossing._even(seconds))
    usual = np.median(np.diff(seconds))
    assert steps[steps > 0].min() == pytest.approx(usual, abs=1)


@pytest.mark.parametrize(("amplitude", "growth"), [(0.3, 0.02), (0.6, 0.01), (0.9, 0.02)])
def test_a_rhythm_that_grows_with_its_level_crosses_in_time(amplitude, growth):
    step = np.arange(288 * 51)
    level = 100 * (1 + growth * step / 288)
    y = level * (1 + amplitude * np.sin(2 * np.pi * step / 288)) + np.random.default_rng(0).normal(size=len(step))
    known = y[: 288 * 21]
    line = known.max() * 1.15
    crosses = (np.argmax(y >= line) + 1) / 288
    told = one(known, line, days=30, period_s=300)
    days = [(told[c] - START) / DAY for c in TIMES]
    assert days[0] - 0.2 <= crosses <= days[2] + 0.2
    assert abs(days[1] - crosses) < 1.5
    assert told["probability"] > 0.95
