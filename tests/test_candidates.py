"""The search for an alarm: levels against a slow twin, tails and intervals against SciPy, the choice against replays."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms.candidates import Aims, Tail, _by_chance, _rounded, choose, levels, tail, visible
from lift_insights.alarms.evidence import WEEK_S, condition, rate_interval, share_interval
from lift_insights.alarms.paging import pages
from lift_insights.alarms.replay import check_alarm, replay
from lift_insights.alarms.tune import tune
from lift_insights.alarms.views import Known, guarded, metric_of, schedule, scheduled, static
from lift_insights.frames import InputError, series_key

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
KEY = series_key("PayTheory/Lift", "operation.POST_/payments", {}, "Sum")
P99 = series_key("PayTheory/Lift", "operation.POST_/payments.duration", {}, "p99")


def frame(values, series=KEY, step=300, start=START):
    times = [start + timedelta(seconds=i * step) for i in range(len(values))]
    return pl.DataFrame(
        {"series": [series] * len(values), "timestamp": times, "value": np.asarray(values, float)}
    ).filter(pl.col("value").is_not_nan())


def incidents(spans, step=300):
    at = [[START + timedelta(seconds=int(side) * step) for side in span] for span in spans]
    return pl.DataFrame(
        {"start": [a for a, _ in at], "end": [b for _, b in at], "label": [f"i{k}" for k in range(len(at))]}
    )


def known(spans=(), days=14, step=300, share=0.7):
    begin = START.timestamp() + 17 * step
    sides = [np.array([START.timestamp() + s[i] * step for s in spans], float) for i in (0, 1)]
    return Known(sides[0], sides[1] + 900, begin, begin + share * (days * 86_400 - 17 * step))


def rhythm(days=14, step=300, night=20.0, day=300.0, weekend=0.6):
    seconds = np.arange(days * 86_400 // step) * step
    hours = seconds % 86_400 / 3600
    usual = night + day * np.clip(np.sin((hours - 6) / 24 * 2 * np.pi), 0, None)
    return usual * np.where(seconds // 86_400 % 7 >= 5, weekend, 1.0)


# levels and tails


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.just(np.nan), st.integers(-5, 5).map(float)), min_size=1, max_size=40),
    st.integers(1, 9),
    st.data(),
)
def test_levels_are_what_counting_gives(values, n, data):
    m = data.draw(st.integers(1, n))
    got = levels(np.array(values), m, n)
    for i in range(len(values)):
        window = sorted((v for v in values[max(0, i - n + 1) : i + 1] if not np.isnan(v)), reverse=True)
        assert got[i] == (window[m - 1] if len(window) >= m else -np.inf)


@pytest.mark.parametrize("seed", range(3))
def test_a_tail_finds_what_it_was_drawn_from(seed):
    from scipy.stats import expon, genpareto

    rng = np.random.default_rng(seed)
    for shape, law in ((0.0, expon), (0.2, genpareto(0.2))):
        peaks = law.rvs(size=40 * 120, random_state=rng)
        found = tail(peaks, 40)
        threshold = law.ppf(1 - 1 / (40 * 120))  # one peak in as long a time
        assert 0.2 < found.expected(np.array([threshold]))[0] < 4, shape
        assert found.shape <= 0.25


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=20, max_size=200), st.floats(0.01, 3))
def test_a_tail_goes_there_and_back_and_falls(values, count):
    found = tail(np.array(values), 4, least=0.1)
    back = found.expected(np.array([found.reached(np.array(count))]))[0]
    assert back == pytest.approx(count, rel=1e-6) or count >= found.count
    expected = found.expected(np.linspace(-10, 300, 400))
    assert np.all(np.diff(expected[np.linspace(-10, 300, 400) >= found.above]) <= 1e-12)


def test_outbreaks_are_left_out_of_the_fit_only_where_that_is_asked_for():
    values = np.random.default_rng(1).exponential(1, 36 * 80)
    values[1000:1010] += 80
    plain, robust = tail(values, 36), tail(values, 36, wild=2)
    assert plain.peaks[-1] > 80 > robust.peaks[-1]
    assert robust.expected(np.array([15.0]))[0] < 0.2 < plain.expected(np.array([15.0]))[0] + 1
    assert isinstance(plain, Tail)
    assert tail(np.full(50, -np.inf), 5) is None


def test_meeting_by_chance_is_what_a_simulation_counts():
    rng, periods, m, n = np.random.default_rng(2), 4000, 2, 12
    met = []
    for _ in range(400):
        at = np.sort(rng.choice(periods, 12, replace=False))
        met.append(np.sum(np.diff(at) < n))
    assert _by_chance(np.array([12]), periods, m, n)[0] == pytest.approx(np.mean(met), rel=0.35)


def test_rounded_figures_are_those_a_person_would_choose():
    assert set(_rounded(np.array([123.456, np.inf]))) == {120.0, 123.0}


# intervals


@pytest.mark.parametrize("count", [0, 1, 3, 17])
def test_the_interval_of_a_rate_is_scipys(count):
    from scipy.stats import chi2

    low, high = rate_interval(count, 2 * WEEK_S)
    assert low == pytest.approx(chi2.ppf(0.025, 2 * count) / 4 if count else 0, abs=1e-3)
    assert high == pytest.approx(chi2.ppf(0.975, 2 * count + 2) / 4, abs=1e-3)


@pytest.mark.parametrize(("hits", "of"), [(0, 5), (5, 5), (3, 7), (90, 100)])
def test_the_interval_of_a_share_is_scipys(hits, of):
    from scipy.stats import binomtest

    wanted = binomtest(hits, of).proportion_ci(0.95, method="exact")
    assert share_interval(hits, of) == pytest.approx([wanted.low, wanted.high], abs=1e-4)


# views


def test_limits_by_the_hour_page_exactly_where_the_numbers_do():
    rng = np.random.default_rng(4)
    values = rng.poisson(rhythm()).astype(float)
    values[2448:2458] *= 0.3  # a Tuesday at noon
    view = scheduled(static(frame(values), metric_of(KEY), "traffic", 300, known()), known())
    alarm = {"AlarmName": "a", "EvaluationPeriods": 2, "DatapointsToAlarm": 2, "TreatMissingData": "breaching"}
    alarm |= schedule(view, -4.0)
    states = replay(alarm, frame(values, "metric"), initial_state="OK")
    # the limits read back out of the expression, hour by hour
    text = alarm["Metrics"][3]["Expression"]
    assert len(text) <= 1024
    times = frame(values)["timestamp"].to_list()
    beyond = np.array([value < limit_at(text, time) for value, time in zip(values, times, strict=True)])
    both = beyond & np.r_[False, beyond[:-1]]
    first = np.flatnonzero(both & ~np.r_[False, both[:-1]])
    assert pages(states)["start"].to_list() == [times[i] + timedelta(seconds=300) for i in first]
    assert 2449 in first


def limit_at(text, time):
    """What nested IFs on hour and DAY come to: an evaluation of our own."""
    from re import sub

    python = sub(r"DAY\(seen\)", "day", text)
    python = sub(r"\bIF\(", "pick(", python)
    return eval(python, {"pick": lambda c, a, b: a if c else b, "day": time.isoweekday(), "hour": time.hour})


def test_a_schedule_never_lies_nearer_than_what_was_chosen():
    values = np.random.default_rng(5).poisson(rhythm()).astype(float)
    view = scheduled(static(frame(values), metric_of(KEY), "traffic", 300, known()), known())
    for threshold in (-3.0, -6.0, 3.0, 6.0):
        text = schedule(view, threshold)["Metrics"][3]["Expression"]
        limits = np.array([limit_at(text, time) for time in frame(values)["timestamp"]])
        asked = np.maximum(view.limit(threshold), 0)
        assert np.all(limits <= asked + 1e-9) if threshold < 0 else np.all(limits >= asked - 1e-9)


def test_one_limit_for_all_hours_is_still_a_time_series():
    """Limits that lie near each other become one; as a bare number CloudWatch would refuse it."""
    values = np.random.default_rng(5).poisson(rhythm()).astype(float)
    values = np.where(np.arange(len(values)) % 7 == 3, np.nan, values)
    view = scheduled(static(frame(values), metric_of(P99), "latency", 300, known()), known())
    what = schedule(replace(view, hours=(np.full(48, 300.0), np.full(48, 50.0))), 5.0)
    assert what["Metrics"][3]["Expression"].startswith("IF(hour < 24")
    alarm = check_alarm({"AlarmName": "a", "EvaluationPeriods": 1, "DatapointsToAlarm": 1} | what)
    states = replay(alarm, frame(values, "metric"), initial_state="OK")
    assert "ALARM" not in states["state"].to_list()


def test_the_longest_schedule_is_one_that_cloudwatch_takes():
    values = np.random.default_rng(5).poisson(rhythm()).astype(float)
    view = scheduled(static(frame(values), metric_of(KEY), "traffic", 300, known()), known())
    usual = 1.3e9 * np.where(np.arange(48) % 2, 1.0, 2.0) * np.where(np.arange(48) < 24, 1.0, 3.0)
    what = schedule(replace(view, hours=(usual, usual / 20)), -5.0)
    check_alarm({"AlarmName": "a", "EvaluationPeriods": 1, "DatapointsToAlarm": 1} | what)


def test_weekends_in_an_incident_are_weekends_for_traffic_and_the_incident_for_latency():
    weekend = [(5 * 288, 7 * 288)]  # the one weekend of the time for choosing
    inside = known(weekend)
    for kind, factor in (("traffic", 0.6), ("latency", 1.0)):
        values = np.random.default_rng(6).poisson(rhythm()).astype(float)
        view = scheduled(static(frame(values), metric_of(KEY), kind, 300, inside), inside)
        usual, _ = view.hours
        assert np.median(usual[24:] / usual[:24]) == pytest.approx(factor, abs=0.05)
        assert not visible([view], inside, -1, inside.split).any() or kind == "latency"


def test_no_schedule_without_a_rhythm_a_week_or_a_single_metric():
    flat = np.random.default_rng(7).poisson(100, 14 * 288).astype(float)
    assert scheduled(static(frame(flat), metric_of(KEY), "traffic", 300, known()), known()) is None
    short = known(days=5)
    assert scheduled(static(frame(rhythm(5)), metric_of(KEY), "traffic", 300, short), short) is None
    both = metric_of("rate", ratio("errors / total"))
    assert scheduled(static(frame(rhythm()), both, "traffic", 300, known()), known()) is None


def ratio(expression, *more):
    base = [
        {
            "Id": name,
            "MetricStat": {"Metric": {"Namespace": "N", "MetricName": name}, "Period": 300, "Stat": "Sum"},
            "ReturnData": False,
        }
        for name in ("errors", "total")
    ]
    return [*base, *more, {"Id": "rate", "Expression": expression}]


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("100 * errors / total", "IF(total >= 20, 100 * errors / total, 0)"),
        ("errors / (total + errors)", "IF(errors >= 20 AND total >= 20, errors / (total + errors), 0)"),
        ("IF(total > 5, errors / total, 0)", None),
        ("errors / MAX([total, total])", None),
        ("errors * 2", None),
        ("errors / 5", None),
    ],
)
def test_ratios_get_a_guard(expression, wanted):
    queries = ratio(expression)
    got, note = guarded(queries)
    assert got[-1]["Expression"] == (wanted or expression)
    assert (note is not None) == (wanted is not None)
    assert queries == ratio(expression)  # nothing is changed in place


def test_a_guard_that_cannot_be_made_is_said():
    hidden = {"Id": "sums", "Expression": "total * 1", "ReturnData": False}
    got, note = guarded(ratio("errors / sums", hidden))
    assert got == ratio("errors / sums", hidden)
    assert "no minimum of traffic" in note


# tune


def bad_minutes(seed=1, step=60, factor=2.2, days=14):
    rng = np.random.default_rng(seed)
    spans = [(4000, 4040), (9215, 9245), (17000, 17035)]  # the last in the time kept back
    values = 180 + rng.gamma(2, 12, days * 86_400 // step)
    for first, last in spans:
        values[first:last] *= factor
    return values, spans


def every_five(values):
    return values.reshape(-1, 5).max(1)


def test_finer_points_make_alarms_quicker():
    values, spans = bad_minutes()
    coarse, fine = frame(every_five(values), P99), frame(values, P99, 60)
    slow, fast = (tune(coarse, incidents=incidents(spans, 60), finer=more)[0] for more in (None, fine))
    assert (slow.alarm["Period"], fast.alarm["Period"]) == (300, 60)
    assert fast.evidence["caught"] == slow.evidence["caught"] == ["i0", "i1", "i2"]
    assert fast.evidence["whole"]["false_pages"] == 0
    assert fast.evidence["whole"]["median_delay_s"] < slow.evidence["whole"]["median_delay_s"]
    again = replay(fast.alarm, fine, initial_state="OK", start=datetime.fromisoformat(fast.evidence["whole"]["start"]))
    assert again.equals(fast.states)


def test_another_statistic_is_taken_where_it_does_better():
    values, spans = bad_minutes()
    noise = np.random.default_rng(8).exponential(400, len(values))
    other = P99.replace("|p99", "|p90")
    points = pl.concat([frame(values + noise, P99, 60), frame(values, other, 60)])
    [found] = tune(points, incidents=incidents(spans, 60), alternatives={P99: [other]}, forms=("static",))
    assert (found.series, found.alarm["ExtendedStatistic"], found.evidence["stat"]) == (P99, "p90", "p90")
    assert found.evidence["whole"]["caught"] == 3


def test_sums_by_the_minute_are_put_together_where_that_does_better():
    values = np.random.default_rng(9).poisson(4, 14 * 1440).astype(float)
    key = series_key("N", "jobs", {}, "Sum")
    spans = [(4000, 4060), (9000, 9060), (17000, 17060)]
    for first, last in spans:
        values[first:last] = np.random.default_rng(first).poisson(1.5, last - first)
    [found] = tune(
        frame(values, key, 60),
        incidents=incidents(spans, 60),
        kind={key: "traffic"},
        forms=("static",),
        periods=(300, 900),
    )
    assert found.alarm["Period"] in (300, 900)
    assert found.evidence["whole"]["caught"] >= 2
    again = replay(
        found.alarm,
        frame(values, key, 60),
        initial_state="OK",
        start=datetime.fromisoformat(found.evidence["whole"]["start"]),
    )
    assert again.equals(found.states)


def test_what_led_to_each_page_is_there():
    values, spans = bad_minutes()
    [found] = tune(frame(values, P99, 60), incidents=incidents(spans, 60))
    for page in found.evidence["pages"]:
        *_, last = page["run_up"]
        assert datetime.fromisoformat(last[0]) + timedelta(seconds=60) == datetime.fromisoformat(page["start"])
        beyond = [value > limit for _, value, limit in page["run_up"]][-found.alarm["EvaluationPeriods"] :]
        assert sum(beyond) >= found.alarm["DatapointsToAlarm"]
    assert json.loads(json.dumps(found.evidence)) == found.evidence
    assert found.points.columns == ["series", "timestamp", "value", "limit"]
    assert len(found.points) == len(values)


def test_the_evidence_carries_intervals_that_hold_what_was_seen():
    values, spans = bad_minutes()
    [found] = tune(frame(values, P99, 60), incidents=incidents(spans, 60))
    for part in ("train", "held_out", "whole"):
        one = found.evidence[part]
        assert one["pages_per_week_interval"][0] <= one["pages_per_week"] <= one["pages_per_week_interval"][1]
        assert one["recall_interval"][0] <= one["recall"] <= one["recall_interval"][1]
        assert one["precision_interval"][0] <= one["precision"] <= one["precision_interval"][1]
        assert one["pages"] == one["caught"] + one["false_pages"] + one["repeats"]


@pytest.mark.parametrize("seed", range(3))
def test_pages_a_week_is_an_aim(seed):
    rng = np.random.default_rng(seed)
    values = frame(100 + rng.gamma(2, 10, 28 * 288), P99)
    few, many = (tune(values, pages_per_week=rate)[0] for rate in (0.2, 5.0))
    assert (
        few.alarm["Threshold"] > many.alarm["Threshold"]
        or few.alarm["EvaluationPeriods"] != many.alarm["EvaluationPeriods"]
    )
    for rate, one in ((0.2, few), (5.0, many)):
        assert one.evidence["aim_met"]
        assert one.evidence["train"]["pages_per_week"] <= rate
        assert one.evidence["held_out"]["pages_per_week_interval"][0] <= rate
    assert many.evidence["aim"]["pages_per_week"] == 5.0


def test_recall_that_nothing_reaches_is_said():
    values, spans = bad_minutes()
    values[spans[1][0] : spans[1][1]] = values[spans[1][0] - 30 : spans[1][0]] * 1.25  # one that hardly shows
    some, all_ = (
        tune(frame(values, P99, 60), incidents=incidents(spans, 60), recall=share, forms=("static",))[0]
        for share in (0.3, 1.0)
    )
    assert some.evidence["aim_met"]
    assert all_.evidence["aim"]["recall"] == 1.0
    assert all_.evidence["aim_met_in_training"] == (all_.evidence["train"]["missed"] == 0)


def test_a_band_is_tried_where_the_others_fall_short():
    """A level that wanders: what is high at one time is usual at another, so no threshold parts them; a band does."""
    rng = np.random.default_rng(3)
    wander = 200 + 60 * np.sin(np.arange(14 * 288) / 1100 * 2 * np.pi)
    values = wander + rng.normal(0, 2, len(wander))
    spans = [(700, 712), (1880, 1892), (2600, 2612), (3700, 3712)]
    for first, last in spans:
        values[first:last] += 45
    points = frame(values, P99)
    plain, banded = (
        tune(points, incidents=incidents(spans), forms=forms)[0]
        for forms in (("static", "scheduled"), ("static", "scheduled", "band"))
    )
    assert plain.evidence["train"]["missed"] > 0
    assert banded.evidence["form"] == "band"
    assert banded.evidence["whole"]["caught"] > plain.evidence["whole"]["caught"]
    assert banded.evidence["replay"] == "stand-in band"
    assert "ours stood in for it" in banded.alarm["AlarmDescription"]
    assert "Threshold" not in banded.alarm
    assert banded.alarm["ThresholdMetricId"] == "band"
    assert condition(banded.alarm).startswith("above its band of")
    again = replay(
        banded.alarm, points, initial_state="OK", start=datetime.fromisoformat(banded.evidence["whole"]["start"])
    )
    assert again.equals(banded.states)


def test_the_search_and_the_replay_agree():
    values, spans = bad_minutes(3)
    at = known(spans, step=60)
    view = static(frame(values, P99, 60), metric_of(P99), "latency", 60, at)
    for rate in (0.01, 0.05, 0.3):
        found = choose([view], at, 1, Aims(rate), blind=False)
        alarm = {
            "AlarmName": "a",
            **metric_of(P99),
            "Period": 60,
            "Threshold": found.threshold,
            "ComparisonOperator": "GreaterThanThreshold",
        }
        alarm |= {"EvaluationPeriods": found.n, "DatapointsToAlarm": found.m, "TreatMissingData": found.treat}
        begin = datetime.fromtimestamp(at.begin, UTC)
        starts = pages(replay(alarm, frame(values, P99, 60), initial_state="OK", start=begin))["start"]
        inside = [
            [a <= t.timestamp() < b for t in starts if t.timestamp() <= at.split]
            for a, b in zip(at.starts, at.ends, strict=True)
        ]
        assert found.caught == sum(map(any, inside))
        assert found.asked == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forms": ("weekly",)}, "forms needs some of static, scheduled, band"),
        ({"forms": "static"}, "forms needs"),
        ({"forms": ("band",)}, "static or scheduled among them"),
        ({"forms": ()}, "forms needs"),
        ({"periods": (90,)}, "periods need"),
        ({"pages_per_week": 0}, "pages_per_week needs a number above 0"),
        ({"recall": 1.5}, "recall needs a number above 0, up to 1"),
        ({"recall": True}, "recall needs"),
        ({"false_positive_rate": None}, "false_positive_rate needs"),
        ({"finer": [1]}, "it is a list"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(InputError) as caught:
        tune(frame(rhythm()), **change)
    assert message in str(caught.value)
