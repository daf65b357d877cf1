"""Anomaly bands, wall clocks, warm-ups, percentiles of few samples and high resolution, and what `explain` tells.

Held against the guides' own examples, pandas' time zones, and a slow twin that walks one evaluation at a time.
"""

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms.datapoints import History, _edges, expected_band, watched
from lift_insights.alarms.machine import fewest_samples
from lift_insights.alarms.replay import explain, replay
from lift_insights.frames import POINTS, UTC_TIME, InputError, series_key

START = datetime(2026, 3, 2, tzinfo=UTC)
P = 300
STATES = ("OK", "ALARM", "INSUFFICIENT_DATA")
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")


def alarm(n=3, m=3, treat="missing", **more):
    stat = {} if "ExtendedStatistic" in more else {"Statistic": "Sum"}
    return {
        "AlarmName": "a", "Namespace": "N", "MetricName": "x", **stat, "Period": P, "EvaluationPeriods": n, "DatapointsToAlarm": m,
        "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": treat,
    } | more  # fmt: skip


def band_alarm(operator="LessThanLowerOrGreaterThanUpperThreshold", n=1, m=1, treat="missing", width="2", **more):
    metric = {"Metric": {"Namespace": "N", "MetricName": "x"}, "Period": P, "Stat": "Sum"}
    return {
        "AlarmName": "a", "EvaluationPeriods": n, "DatapointsToAlarm": m, "ComparisonOperator": operator, "TreatMissingData": treat,
        "ThresholdMetricId": "ad1",
        "Metrics": [
            {"Id": "m1", "MetricStat": metric, "ReturnData": True},
            {"Id": "ad1", "Expression": f"ANOMALY_DETECTION_BAND(m1, {width})", "ReturnData": True},
        ],
    } | more  # fmt: skip


def times(count, period=P, start=START):
    return [start + timedelta(seconds=i * period) for i in range(count)]


def frame(values, series="x", period=P, start=START):
    rows = [
        (series, t, float(v)) for t, v in zip(times(len(values), period, start), values, strict=True) if v is not None
    ]
    return pl.DataFrame(rows, schema=POINTS.columns, orient="row")


def moves(states):
    return list(zip(states["timestamp"], states["state"], strict=True))


# The slow twin: one evaluation at a time. Each period is None (missing) or (breaches, has too few samples).


def decide(points, n, m, treat, before):
    """points: the evaluation range, oldest first."""
    real = [p for p in points if p is not None]
    if real and real[-1][1]:
        return before  # the latest datapoint is no significant percentile
    bad = [p[0] for p in real]
    if len(real) >= n:
        return "ALARM" if sum(bad[-n:]) >= m else "OK"
    if treat == "breaching":
        return "ALARM" if sum(bad) + n - len(real) >= m else "OK"
    if treat == "notBreaching" or sum(bad) >= m:
        return "ALARM" if sum(bad) >= m else "OK"
    if not all(bad):
        return "OK"
    if treat == "ignore":
        return before
    age = len(points) - next((i for i, p in enumerate(points) if p is not None), len(points))
    return "ALARM" if real and age >= m else "INSUFFICIENT_DATA"


def walk(history, n, m, treat, before, *, warm_up=None):
    """State after each period; history begins with the alarm."""
    out, warm = [], warm_up is not None and before == "INSUFFICIENT_DATA"
    for k in range(len(history)):
        seen = [history[i] if i >= 0 else None for i in range(k - n - 1, k + 1)]
        if warm:
            over = (k + 1) * P >= 60 * warm_up["WarmUpPeriodDurationInMinutes"]
            full = seen[-1] is not None and any(
                p is not None for p in seen[:3]
            )  # the oldest of the window, or just before
            warm = not over and (warm_up.get("OnlyStartEvaluatingAfterWarmUpPeriodEnds", False) or not full)
        before = "INSUFFICIENT_DATA" if warm else decide(seen, n, m, treat, before)
        out.append(before)
    return out


def changes(states, initial):
    rows, last = [], initial
    for k, state in enumerate(states):
        if state != last:
            rows.append((START + timedelta(seconds=P * (k + 1)), state))
        last = state
    return rows


def mn():
    return st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


# Percentiles of few samples


@pytest.mark.parametrize(
    ("stat", "need"), [("p99", 1000), ("p90", 100), ("p50", 20), ("p10", 100), ("p0.1", 10000), ("p99.9", 10000)]
)
def test_samples_that_the_guide_asks_for(stat, need):
    assert fewest_samples(stat) == need


@given(st.integers(1, 9999))
def test_fewest_samples_by_the_formula(hundredths):
    share = Fraction(hundredths, 10_000)
    need = fewest_samples(f"p{hundredths / 100:.2f}")
    enough = Fraction(10) / (1 - share if share >= Fraction(1, 2) else share)
    assert need >= enough > need - 1


def test_what_is_no_percentile_needs_none():
    assert [fewest_samples(stat) for stat in ("p100", "p0", "tm99", "IQM", "PR(:300)", "Sum", "")] == [0] * 7


P99 = {"ExtendedStatistic": "p99", "EvaluateLowSampleCountPercentile": "ignore"}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.none() | st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30).filter(lambda v: v[0] and v[-1]),
    mn(), st.sampled_from(TREATMENTS), st.sampled_from(STATES),
)  # fmt: skip
def test_few_samples_slow_twin(history, nm, treat, initial):
    points = frame([None if p is None else 9 if p[0] else 1 for p in history])
    counts = frame([None if p is None else 999 if p[1] else 1000 for p in history])
    got = replay(alarm(*nm, treat, **P99), points, samples=counts, initial_state=initial)
    assert moves(got) == changes(walk(history, *nm, treat, initial), initial)


def test_sample_counts_are_found():
    key, counted = (series_key("N", "x", {}, stat) for stat in ("p99", "SampleCount"))
    p99, fine = frame([1, 9, 9], key), frame([200] * 15, counted, 60)
    one = alarm(1, 1, **P99)
    assert replay(one, pl.concat([p99, fine]))["state"].to_list() == [
        "OK",
        "ALARM",
    ]  # beside the percentile, put together
    few = fine.with_columns(value=pl.lit(100.0))
    assert replay(one, pl.concat([p99, few])).is_empty()
    for name in ("anything", key, counted):
        assert replay(one, p99, samples=few.with_columns(series=pl.lit(name))).is_empty()
    assert replay(one, p99.to_pandas(), samples=few.to_pandas()).empty
    with pytest.raises(InputError, match=r"fewer than 1,000 samples; hand in their number as samples="):
        replay(one, p99)
    with pytest.raises(InputError, match="for its sample counts, needs the series"):
        replay(one, p99, samples=pl.concat([frame([1], "y"), frame([1], "z")]))
    assert replay(one | {"EvaluateLowSampleCountPercentile": "evaluate"}, p99)["state"].to_list() == ["OK", "ALARM"]


def test_a_percentile_without_a_count_stands_on_none():
    assert replay(alarm(1, 1, **P99), frame([9, 9]), samples=frame([5000, None]), initial_state="OK")[
        "state"
    ].to_list() == ["ALARM"]
    assert replay(alarm(1, 1, **P99), frame([1, 9]), samples=frame([5000, None]), initial_state="OK").is_empty()


# Warm-up


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.none() | st.booleans(), min_size=1, max_size=30),
    st.integers(1, 3), st.sampled_from(TREATMENTS), st.sampled_from(STATES), st.integers(1, 120), st.booleans(),
)  # fmt: skip
def test_warm_up_slow_twin(history, m, treat, initial, minutes, only):
    warm_up = {"WarmUpPeriodDurationInMinutes": minutes, "OnlyStartEvaluatingAfterWarmUpPeriodEnds": only}
    points = frame([None if b is None else 9 if b else 1 for b in history])
    end = START + timedelta(seconds=P * len(history))
    got = replay(alarm(3, m, treat, WarmUpConfiguration=warm_up), points, initial_state=initial, start=START, end=end)
    twin = walk([None if b is None else (b, False) for b in history], 3, m, treat, initial, warm_up=warm_up)
    assert moves(got) == changes(twin, initial)


def test_warm_up_as_the_guide_tells_it():
    """Five-minute periods, N = 3, created at 10:00, published from 10:04: evaluated when a window of 15 minutes is full."""
    created = datetime(2026, 3, 2, 10, tzinfo=UTC)
    points = frame([9] * 20, period=60, start=created + timedelta(minutes=4))
    breaching = alarm(3, 1, "breaching", WarmUpConfiguration={"WarmUpPeriodDurationInMinutes": 60})
    got = replay(breaching, points, start=created)
    assert moves(got) == [(created + timedelta(minutes=15), "ALARM")]
    assert moves(
        replay(breaching | {"WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 5}}, points, start=created)
    )[0][0] == created + timedelta(minutes=5)
    assert moves(replay({k: v for k, v in breaching.items() if k != "WarmUpConfiguration"}, points, start=created))[0][
        0
    ] == created + timedelta(minutes=5)


# Anomaly bands


def bands(lows, highs):
    rows = [("m1", t, lo, hi) for t, lo, hi in zip(times(len(lows)), lows, highs, strict=True) if lo is not None]
    schema = {"series": pl.String, "timestamp": UTC_TIME, "lo": pl.Float64, "hi": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


OUTSIDE = {
    "LessThanLowerOrGreaterThanUpperThreshold": lambda v, lo, hi: v < lo or v > hi,
    "LessThanLowerThreshold": lambda v, lo, hi: v < lo,
    "GreaterThanUpperThreshold": lambda v, lo, hi: v > hi,
}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)), min_size=2, max_size=30).filter(lambda v: any(a is not None for a, _ in v)),
    mn(), st.sampled_from(TREATMENTS), st.sampled_from(STATES), st.sampled_from(list(OUTSIDE)),
)  # fmt: skip
def test_band_slow_twin(history, nm, treat, initial, operator):
    values, lows = [v for v, _ in history], [lo for _, lo in history]
    highs = [None if lo is None else lo + 2 for lo in lows]
    end = START + timedelta(seconds=P * len(history))
    kept = bands(lows, highs) if any(lo is not None for lo in lows) else {"m1": bands(lows, highs).drop("series")}
    got = replay(
        band_alarm(operator, *nm, treat), frame(values), bands=kept, initial_state=initial, start=START, end=end
    )
    judged = [
        None if v is None or lo is None else (OUTSIDE[operator](v, lo, hi), False)
        for v, lo, hi in zip(values, lows, highs, strict=True)
    ]
    assert moves(got) == changes(walk(judged, *nm, treat, initial), initial)


def test_bands_in_every_form():
    values, lows, highs = [5, 9, 5, 1], [4.0] * 4, [6.0] * 4
    key = series_key("N", "x", {}, "Sum")
    whole = bands(lows, highs)
    expected = ["OK", "ALARM", "OK", "ALARM"]
    for points in (
        frame(values),
        frame(values, key),
        frame(values, "m1"),
        pl.concat([frame(values, key), frame([0] * 4, "other")]),
    ):
        for form in (
            whole,
            whole.with_columns(series=pl.lit(key)),
            {"m1": whole.drop("series")},
            lambda name, points, width: whole.drop("series"),
        ):
            assert replay(band_alarm(), points, bands=form)["state"].to_list() == expected
    reasons = replay(band_alarm(), frame(values), bands=whole)["reason"].to_list()
    assert reasons[1] == "Threshold Crossed: 1 of 1 datapoints outside the band (ALARM from 1 of 1)"


def test_the_band_of_an_expression():
    metrics = [
        {
            "Id": name,
            "MetricStat": {"Metric": {"Namespace": "N", "MetricName": name}, "Period": P, "Stat": "Sum"},
            "ReturnData": False,
        }
        for name in ("errors", "total")
    ]
    ratio = band_alarm("GreaterThanUpperThreshold", Metrics=[*metrics, {"Id": "rate", "Expression": "100*errors/total"}, {"Id": "ad1", "Expression": "ANOMALY_DETECTION_BAND(rate, 2)"}])  # fmt: skip
    points = pl.concat([frame([1, 9, 1], "errors"), frame([100] * 3, "total")])
    flat = {"rate": bands([0.0] * 3, [5.0] * 3).drop("series")}
    assert replay(ratio, points, bands=flat)["state"].to_list() == ["OK", "ALARM", "OK"]
    assert replay(ratio, frame([1, 9, 1], "the rate itself"), bands=flat)["state"].to_list() == ["OK", "ALARM", "OK"]


def busy(n=600, seed=3):
    values = np.random.default_rng(seed).poisson(100 + 40 * np.sin(np.arange(n) * 2 * np.pi / 288)).astype(float)
    values[500:506] *= 4
    return frame(values.tolist())


def test_our_own_band_is_causal_and_has_the_width_asked_for():
    points = busy()
    band = expected_band("m1", points, 2.0)
    for cut in (200, 431, 503):
        spoiled = points.with_columns(value=pl.when(pl.int_range(pl.len()) >= cut).then(1e6).otherwise(pl.col("value")))
        assert expected_band("m1", spoiled, 2.0)[: cut - 150 + 1].equals(
            band[: cut - 150 + 1]
        )  # not even the row itself is looked at
    wide = expected_band("m1", points, 4.0)
    middle = (wide["hi"] * 1 + (band["hi"] - wide["hi"]) * 2).to_numpy()  # where the width would be none
    assert np.allclose(middle, (wide["lo"] + (band["lo"] - wide["lo"]) * 2).to_numpy())


def test_our_own_band_is_the_default():
    points = busy()
    high = band_alarm("GreaterThanUpperThreshold", 3, 3, width="3")
    got = replay(high, points, initial_state="OK")
    raised = [t for t, state in moves(got) if state == "ALARM"]
    assert START + timedelta(seconds=503 * P) in raised  # the third of six wild values
    assert got.equals(replay(high, points, bands=expected_band, initial_state="OK"))
    end = START + timedelta(seconds=450 * P)
    assert replay(high, points, initial_state="OK", end=end).equals(got.filter(pl.col("timestamp") <= end))
    assert moves(replay(high, points[:100]))[:1] == []  # no band yet: nothing can be judged


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ThresholdMetricId": "nothing"}, "ThresholdMetricId"),
        ({"Threshold": 5.0}, "Threshold"),
        ({"ComparisonOperator": "GreaterThanThreshold"}, "a"),
        ({"ComparisonOperator": "Outside"}, "ComparisonOperator"),
    ],
)
def test_band_alarms_cloudwatch_would_refuse(change, message):
    with pytest.raises(InputError, match=message):
        replay(band_alarm() | change, frame([1, 2]), bands=bands([0.0, 0.0], [1.0, 1.0]))


def test_a_band_that_cannot_be_used():
    upside_down = bands([4.0], [3.0])
    with pytest.raises(InputError, match=r"lo above its hi.*position 1"):
        replay(band_alarm(), frame([1]), bands=upside_down)
    with pytest.raises(InputError, match=r"bands hold none for m1"):
        replay(band_alarm(), frame([1]), bands={"m2": upside_down.drop("series")})
    with pytest.raises(InputError, match="ad1"):
        replay(band_alarm(width="("), frame([1]))


# Wall clocks


def daily(zone, period=86_400, n=1, m=1, **more):
    return alarm(n, m, "notBreaching", Period=period, EvaluationWindow={"WallClockWindow": {"Timezone": zone}}, **more)


ZONES = [
    "America/New_York",
    "Europe/London",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "UTC",
]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from([3600, 86_400, 604_800]),
    st.datetimes(datetime(2025, 1, 1), datetime(2026, 12, 1)),  # noqa: DTZ001
    st.lists(st.integers(0, 30 * 288), min_size=1, max_size=60, unique=True),
    st.integers(0, 2**16),
)
def test_calendar_periods_as_pandas_sees_them(zone, period, start, places, seed):
    """The datapoints of the calendar's hours, days and weeks are those that pandas groups together in that zone."""
    start = start.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
    stamps = [start + timedelta(seconds=300 * place) for place in sorted(places)]
    values = np.random.default_rng(seed).integers(1, 9, len(stamps)).astype(float)
    points = pl.DataFrame({"series": "x", "timestamp": stamps, "value": values}, schema=POINTS.columns)
    local = pd.DatetimeIndex(stamps).tz_convert(zone)
    naive = local.tz_localize(None)
    if period == 3600:  # within an hour of the clock, apart where it is shown twice
        label = [(pd.Timestamp(x).floor("h"), y.utcoffset()) for x, y in zip(naive, local, strict=True)]
    else:
        label = list(naive.to_period("D" if period == 86_400 else "W-SUN"))
    sums = pd.Series(values).groupby(pd.factorize(pd.Index(map(str, label)))[0]).sum().to_numpy()
    got = watched(daily(zone, period), History(points)).values
    if zone == "Australia/Lord_Howe" and period == 3600:
        assert (
            got.sum() == sums.sum()
        )  # half-hour shifts leave an hour of 30 or 90 minutes, which pandas labels otherwise
    else:
        assert got.tolist() == sums.tolist()


def test_a_day_in_new_york():
    """Backups run at 01:30 local time, through the night in which the clocks go forward; the alarm asks for one a calendar day."""
    zone = ZoneInfo("America/New_York")
    nights = [datetime(2026, 3, day, 1, 30, tzinfo=zone) for day in (6, 7, 8, 9, 11)]  # none on the tenth
    points = pl.DataFrame([("x", night.astimezone(UTC), 1.0) for night in nights], schema=POINTS.columns, orient="row")
    backup = daily("America/New_York", ComparisonOperator="LessThanThreshold", Threshold=1.0) | {
        "TreatMissingData": "breaching"
    }
    got = replay(backup, points, initial_state="OK")
    assert got.is_empty()  # one missing day is bridged: two days more than N are looked back to
    two = pl.concat(
        [
            points,
            points[-1:].with_columns(
                timestamp=pl.lit(datetime(2026, 3, 15, 1, 30, tzinfo=zone).astimezone(UTC)).cast(UTC_TIME)
            ),
        ]
    )
    midnight = datetime(2026, 3, 15, tzinfo=zone).astimezone(UTC)
    got = moves(replay(backup, two, initial_state="OK"))
    assert got == [(midnight, "ALARM"), (midnight + timedelta(days=1), "OK")]  # 12, 13 and 14 March without one


def test_weeks_begin_on_monday_and_offsets_hold():
    sunday = datetime(2026, 3, 8, 18, tzinfo=UTC)
    points = frame([1] * 3, period=6 * 3600, start=sunday)  # Sunday 18:00, Monday 00:00 and 06:00 UTC
    week = daily("UTC", 604_800, Threshold=1.5)
    assert moves(replay(week, points)) == [
        (datetime(2026, 3, 9, tzinfo=UTC), "OK"),
        (datetime(2026, 3, 16, tzinfo=UTC), "ALARM"),
    ]
    for zone, sums in (
        ("+05:30", [1, 2]),
        ("UTC+05:30", [1, 2]),
        ("GMT-08:00", [3]),
        ("Z", [1, 2]),
        ("-0600", [2, 1]),
        ("+14:00", [3]),
    ):
        assert watched(daily(zone), History(points)).values.tolist() == sums, zone


def test_clocks_that_change_oddly():
    """St. John's went back from 00:01 to 23:01, so that midnight came twice; Lord Howe Island goes forward by half an hour."""
    night = int(datetime(2010, 11, 7, tzinfo=UTC).timestamp())
    days = _edges("America/St_Johns", 86_400, night - 86_400, night + 2 * 86_400)
    assert [datetime.fromtimestamp(s, UTC).isoformat()[5:16] for s in days] == [
        "11-06T02:30",
        "11-07T02:30",
        "11-08T03:30",
    ]
    spring = int(datetime(2025, 10, 4, 14, tzinfo=UTC).timestamp())
    hours = _edges("Australia/Lord_Howe", 3600, spring, spring + 3 * 3600)
    assert [datetime.fromtimestamp(s, UTC).isoformat()[11:16] for s in hours] == ["14:30", "15:30", "16:00", "17:00"]


def test_metric_math_is_asked_for_the_time_before_the_start():
    """An alarm looks back further than its first evaluation, and FILL fills there too."""
    plain = {
        k: v
        for k, v in alarm(3, 3, "notBreaching").items()
        if k not in ("Namespace", "MetricName", "Statistic", "Period")
    }
    metric = {
        "Id": "m1",
        "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "x"}, "Period": P, "Stat": "Sum"},
        "ReturnData": False,
    }
    filled = plain | {"Metrics": [metric, {"Id": "e1", "Expression": "FILL(m1, 9)"}]}
    points = frame([1, 1], "m1", start=START + timedelta(hours=1))
    got = moves(replay(filled, points, start=START, initial_state="OK"))
    assert got == [(START + timedelta(seconds=P), "ALARM"), (START + timedelta(hours=1, seconds=P), "OK")]


def test_minutes_are_the_same_on_every_clock():
    points = frame([1, 9, 9, 1] * 5, period=60)
    plain = alarm(2, 2, Period=60)
    for zone in ("Asia/Kathmandu", "+01:05"):
        assert replay(plain | {"EvaluationWindow": {"WallClockWindow": {"Timezone": zone}}}, points).equals(
            replay(plain, points)
        )
    assert replay(plain | {"EvaluationWindow": {"SlidingWindow": {}}}, points).equals(replay(plain, points))


def test_metric_math_on_a_wall_clock():
    queries = [
        {
            "Id": name,
            "MetricStat": {"Metric": {"Namespace": "N", "MetricName": name}, "Period": 86_400, "Stat": "Sum"},
            "ReturnData": False,
        }
        for name in ("errors", "total")
    ]
    plain = {
        k: v for k, v in daily("Europe/Berlin").items() if k not in ("Namespace", "MetricName", "Statistic", "Period")
    }
    share = plain | {"Metrics": [*queries, {"Id": "rate", "Expression": "100*FILL(errors, 0)/total"}]}
    start = datetime(2026, 3, 27, 23, tzinfo=UTC)  # midnight in Berlin; the 29th has 23 hours
    points = pl.concat(
        [frame([10.0] * 72, "total", 3600, start), frame([60.0], "errors", 3600, start + timedelta(hours=46))]
    )
    got = moves(replay(share, points, initial_state="OK"))
    assert got == [(start + timedelta(hours=47), "ALARM"), (start + timedelta(hours=71), "OK")]


def test_an_unknown_time_zone():
    with pytest.raises(InputError, match="Mars"):
        replay(daily("Mars/Olympus"), frame([1]))


# High resolution


@pytest.mark.parametrize("period", [10, 20, 30])
def test_high_resolution(period):
    """The guide's figure, in seconds: 3 of 3 above 3 in periods 3 to 5 is ALARM, 6 is OK."""
    points = frame([2, 2, 4, 4, 5, 2, 2, 2, 4, 2], period=period)
    got = replay(alarm(3, 3, Threshold=3.0, Period=period), points, initial_state="OK")
    assert moves(got) == [
        (START + timedelta(seconds=period * 5), "ALARM"),
        (START + timedelta(seconds=period * 6), "OK"),
    ]
    fine = frame([1, 2] * 30, period=5)
    together = replay(alarm(1, 1, Threshold=period / 10 * 3 - 0.1, Period=period), fine)
    assert together["state"].to_list() == ["ALARM"]


def test_a_metric_of_minutes_on_a_period_of_seconds_lapses():
    """PutMetricAlarm: such an alarm "might often lapse into INSUFFICIENT_DATA"."""
    got = replay(alarm(1, 1, Period=10), frame([1, 1, 1], period=60))
    assert got["state"].to_list() == ["OK", "INSUFFICIENT_DATA", "OK", "INSUFFICIENT_DATA", "OK"]


# What explain tells


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.none() | st.integers(1, 9), min_size=1, max_size=30).filter(lambda v: v[0] and v[-1]),
    mn(),
    st.sampled_from(TREATMENTS),
)
def test_explained_datapoints_agree_with_the_reason(values, nm, treat):
    (n, m), points = nm, frame(values)
    for at, state, reason in replay(alarm(n, m, treat), points).select("timestamp", "state", "reason").iter_rows():
        why = explain(alarm(n, m, treat), points, at)
        range_ = times(n + 2, start=at - timedelta(seconds=P * (n + 2)))
        known = dict(zip(points["timestamp"], points["value"], strict=True))
        assert why["timestamp"].to_list() == range_
        assert why["value"].to_list() == [known.get(t) for t in range_]
        assert why["breaching"].to_list() == [None if t not in known else known[t] > 5 for t in range_]
        real = [t for t in range_ if t in known][-n:]
        assert why.filter("used")["timestamp"].to_list() == real
        if state == "INSUFFICIENT_DATA":
            assert f"{n - len(real)} of {n} datapoints were missing" in reason
        else:
            counted = re.search(r"(\d+) of (\d+) datapoints", reason).groups()
            assert counted == (str(sum(known[t] > 5 for t in real)), str(len(real)))


def test_explain_a_band_and_a_time_between_evaluations():
    values = [5, None, 9]
    why = explain(
        band_alarm(n=2),
        frame(values),
        START + timedelta(seconds=P * 3 + 299),
        bands=bands([4.0, None, 4.0], [6.0, None, 6.0]),
    )
    assert why["timestamp"].to_list()[-1] == START + timedelta(seconds=P * 2)
    assert why["value"].to_list() == [None, 5.0, None, 9.0]
    assert why["lower"].to_list() == [None, 4.0, None, 4.0]
    assert why["upper"].to_list() == [None, 6.0, None, 6.0]
    assert why["breaching"].to_list() == [None, False, None, True]
    assert why["used"].to_list() == [False, True, False, True]
    assert why["threshold"].null_count() == 4
    assert isinstance(explain(alarm(), frame([1]).to_pandas(), START + timedelta(hours=1)), pd.DataFrame)


def test_explain_refuses():
    with pytest.raises(InputError, match="composite"):
        explain({"AlarmName": "c", "AlarmRule": "ALARM(a)"}, frame([1]), START)
    with pytest.raises(InputError, match="no time zone"):
        explain(alarm(), frame([1]), datetime(2026, 3, 2))  # noqa: DTZ001


# Bad input


def test_points_of_every_bad_kind():
    good = frame([1, 9, 9, 9, 1])
    junk = [
        ("x", START + timedelta(seconds=P * 2), float("nan")), ("x", START + timedelta(seconds=P * 3), float("inf")),
        ("x", None, 9.0), (None, START, 9.0), ("x", START + timedelta(seconds=P * 4), None),
    ]  # fmt: skip
    bad = pl.DataFrame(junk, schema=POINTS.columns, orient="row")
    expected = replay(alarm(1, 1), good)
    assert replay(alarm(1, 1), pl.concat([bad, good])).equals(expected)
    assert replay(alarm(1, 1), pl.concat([good[::-1], good])).equals(expected)  # duplicates, and not in order
    assert replay(alarm(1, 1), frame([float("nan"), float("-inf"), 9])).equals(
        replay(alarm(1, 1), frame([None, None, 9]))
    )


def test_a_wrong_timestamp_is_not_a_history():
    points = pl.concat([frame([1], start=datetime(1970, 1, 1, tzinfo=UTC)), frame([1])])
    with pytest.raises(InputError, match="Is a timestamp wrong"):
        replay(alarm(1, 1, Period=10), points)


def test_an_end_before_the_start():
    with pytest.raises(InputError, match="a start that is not after its end"):
        replay(alarm(1, 1), frame([1]), start=START + timedelta(hours=1), end=START)


def test_queries_that_need_cloudwatch():
    promql = {
        "AlarmName": "a",
        "EvaluationCriteria": {"PromQLCriteria": {"Query": "up == 0"}},
        "EvaluationInterval": 60,
    }
    with pytest.raises(InputError, match="PromQL query, which needs CloudWatch itself"):
        replay(promql, frame([1]))
    plain = {k: v for k, v in alarm(1, 1).items() if k not in ("Namespace", "MetricName", "Statistic", "Period")}
    insights = plain | {"Metrics": [{"Id": "q1", "Expression": 'SELECT SUM(x) FROM "N"', "Period": P}]}
    both = pl.concat([frame([1], "y"), frame([1], "z")])
    for points in (both, POINTS.empty()):
        with pytest.raises(InputError, match=r"SELECT|needs the series 'q1'"):
            replay(insights, points, start=START, end=START + timedelta(hours=1))
    assert replay(insights, frame([1, 9], "its result"))["state"].to_list() == ["OK", "ALARM"]


def test_names_have_to_be_unique():
    with pytest.raises(InputError, match="used twice: a"):
        replay([alarm(), alarm(1, 1)], frame([1]))


def test_a_proposal_stands_for_its_alarm():
    class Proposal:
        alarm = alarm(1, 1)

    points = frame([1, 9])
    assert replay([Proposal()], points).equals(replay(alarm(1, 1), points))
    assert explain(Proposal(), points, START + timedelta(seconds=2 * P)).equals(
        explain(alarm(1, 1), points, START + timedelta(seconds=2 * P))
    )


def test_series_in_pieces_and_mixed():
    key, other = (series_key("N", "x", {"d": d}, "Sum") for d in "ab")
    alarms = [alarm(1, 1, AlarmName=d, Dimensions=[{"Name": "d", "Value": d}]) for d in "ab"]
    apart = pl.concat([frame([1, 9, 1], key), frame([9, 1, 9], other)])
    mixed = apart.sort("timestamp")
    assert replay(alarms, apart).equals(replay(alarms, mixed))
    assert replay(alarms, apart)["state"].to_list() == ["OK", "ALARM", "OK", "ALARM", "OK", "ALARM"]


# Evaluated every minute, as CloudWatch does


def slide(values, n, m, treat, initial, every, period):
    """values: one a minute. At each step the last windows of `period` minutes that end there, each the sum of what it holds."""
    rows, state = [], initial
    for end in range(every, (len(values) - 1) // every * every + every + 1, every):
        windows = []
        for k in range(n + 2, 0, -1):
            inside = [v for v in values[max(end - k * period, 0) : max(end - (k - 1) * period, 0)] if v is not None]
            windows.append((sum(inside) > 5, False) if inside else None)
        new = decide(windows, n, m, treat, state)
        if new != state:
            rows.append((START + timedelta(minutes=end), new))
        state = new
    return rows


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.none() | st.integers(0, 4), min_size=1, max_size=50).filter(
        lambda v: v[0] is not None and v[-1] is not None
    ),
    mn(),
    st.sampled_from(TREATMENTS),
    st.sampled_from(STATES),
    st.sampled_from([1, 5]),
)
def test_sliding_windows_slow_twin(values, nm, treat, initial, every):
    points = frame(values, period=60)
    if len(points) > 1 and every == 1 and np.gcd.reduce(np.diff(points["timestamp"].to_physical().to_numpy())) > 60e6:
        return  # refused, see below
    got = replay(alarm(*nm, treat), points, initial_state=initial, every_s=60 * every)
    assert moves(got) == slide(values, *nm, treat, initial, every, 5)
    if every == 5:
        assert got.equals(replay(alarm(*nm, treat), points, initial_state=initial))


def test_sliding_windows_see_a_breach_sooner():
    points = frame([0] * 10 + [4] * 10, period=60)
    assert moves(replay(alarm(1, 1), points, initial_state="OK")) == [(START + timedelta(minutes=15), "ALARM")]
    assert moves(replay(alarm(1, 1), points, initial_state="OK", every_s=60)) == [
        (START + timedelta(minutes=12), "ALARM")
    ]
    why = explain(alarm(1, 1), points, START + timedelta(minutes=12), every_s=60)
    assert why["timestamp"].to_list()[-1] == START + timedelta(minutes=7)
    assert why["value"].to_list()[-1] == 8.0


def test_sliding_windows_refuse():
    with pytest.raises(InputError, match=r"lie 300 s apart.*Read them with period_s=60"):
        replay(alarm(1, 1), frame([1, 2, 3]), every_s=60)
    with pytest.raises(InputError, match="whole seconds that divide the period"):
        replay(alarm(1, 1), frame([1, 2, 3]), every_s=70)
    for every in (0, -60, 60.0, "60", True):
        with pytest.raises(InputError, match="whole seconds"):
            replay(alarm(1, 1), frame([1, 2, 3]), every_s=every)
    with pytest.raises(InputError, match="watches p99"):
        replay(alarm(1, 1, ExtendedStatistic="p99"), frame([1, 2, 3]), every_s=60)
    coarse = pl.concat([frame([1] * 9, series_key("N", "x", {}, "Sum"), 60), frame([1, 1], "other", 3600)])
    assert replay(alarm(1, 1), coarse, every_s=60)["state"].to_list() == ["OK"]  # of no concern here


# Composite alarms in the same list


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(4, 7), st.none() | st.integers(4, 7)), min_size=2, max_size=20))
def test_composite_alarms_follow_their_children(history):
    x, y = (series_key("N", "x", {"d": d}, "Sum") for d in "ab")
    points = pl.concat([frame([a for a, _ in history], x), frame([b for _, b in history], y)])
    children = [alarm(1, 1, "notBreaching", AlarmName=d, Dimensions=[{"Name": "d", "Value": d}]) for d in "ab"]
    both = {"AlarmName": "both", "AlarmRule": "ALARM(a) AND ALARM(b)"}
    above = {"AlarmName": "above", "AlarmRule": "NOT ALARM(both) AND (ALARM(a) OR ALARM(b))"}
    end = START + timedelta(seconds=P * len(history))
    got = replay([above, children[0], both, children[1]], points, initial_state="OK", start=START, end=end)

    def state_at(name, time):
        rows = got.filter((pl.col("alarm") == name) & (pl.col("timestamp") <= time))
        return rows["state"][-1] == "ALARM" if len(rows) else False

    for time in times(len(history), start=START + timedelta(seconds=P)):
        a, b, together, one = (state_at(name, time) for name in ("a", "b", "both", "above"))
        assert together == (a and b)
        assert one == ((a or b) and not together)


def test_a_composite_is_evaluated_from_the_start():
    calm = {"AlarmName": "calm", "AlarmRule": "NOT ALARM(a)"}
    for more, first in (({}, START), ({"start": START + timedelta(seconds=P)}, START + timedelta(seconds=P))):
        got = replay([alarm(1, 1), calm], frame([1, 1, 9]), initial_state="OK", **more)
        assert moves(got.filter(pl.col("alarm") == "calm")) == [
            (first, "ALARM"),
            (START + timedelta(seconds=3 * P), "OK"),
        ]


def test_a_composite_of_what_is_not_there():
    with pytest.raises(InputError, match="nobody"):
        replay([alarm(1, 1), {"AlarmName": "c", "AlarmRule": "ALARM(nobody)"}], frame([1, 9]))
    with pytest.raises(InputError, match="position"):
        replay([alarm(1, 1), {"AlarmName": "c", "AlarmRule": "ALARM(a"}], frame([1, 9]))
