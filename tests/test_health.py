"""The score of a service keeps its promises: monotone, continuous, comparable, honest."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.frames import InputError, series_key
from lift_insights.models import health
from lift_insights.models.health import SIGNALS, score, signals

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + timedelta(hours=6)
USUAL = {"errors": 0.004, "latency": 80.0, "saturation": 0.4, "traffic": 50.0}
MINE = {"latency": 200.0, "traffic": 10.0}


def frame(values: dict[str, list], service="a", start=NOW):
    rows = [
        (service, name, start + timedelta(minutes=5 * i), v)
        for name, many in values.items()
        for i, v in enumerate(many)
        if v is not None
    ]
    return pl.DataFrame(rows, SIGNALS.columns, orient="row")


def past(service="a", usual=USUAL):
    """Six hours that differ a little from each other."""
    many = {name: [v * (1 + 0.05 * math.sin(i)) for i in range(72)] for name, v in usual.items()}
    return frame(many, service, START)


def judge(values, *, normal=True, **kw):
    rows = pl.concat([past(), frame(values)]) if normal else frame(values)
    return score(rows, since=NOW if normal else None, **({"objectives": MINE} | kw)).row(0, named=True)


NOW_VALUES = st.fixed_dictionaries({
    "errors": st.lists(st.floats(0, 1), min_size=4, max_size=4),
    "latency": st.lists(st.floats(0, 5000), min_size=4, max_size=4),
    "saturation": st.lists(st.floats(0, 1.5), min_size=4, max_size=4),
    "traffic": st.lists(st.floats(1, 500), min_size=4, max_size=4),
})  # fmt: skip


@given(NOW_VALUES, st.sampled_from([*USUAL]), st.integers(0, 3), st.floats(0, 1000), st.booleans())
@settings(max_examples=150, deadline=None)
def test_worse_never_scores_better(values, signal, at, by, normal):
    worse = {**values, signal: [*values[signal]]}
    worse[signal][at] += by
    if signal == "traffic":  # less in one period only would also take that period's failures away
        worse[signal] = [v / (1 + by) if at else 0.0 for v in values[signal]]
    assert judge(worse, normal=normal)["score"] <= judge(values, normal=normal)["score"] + 1e-9


@given(NOW_VALUES, st.sampled_from([*USUAL]), st.integers(0, 3), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_small_step_is_a_small_change(values, signal, at, normal):
    moved = {**values, signal: [*values[signal]]}
    moved[signal][at] += 1e-8 * USUAL[signal]
    assert judge(moved, normal=normal)["score"] == pytest.approx(judge(values, normal=normal)["score"], abs=0.01)


@pytest.mark.parametrize("signal", [*USUAL])
def test_there_is_no_cliff_on_the_way(signal):
    base = {name: [v] * 4 for name, v in USUAL.items()}
    way = [USUAL[signal] * k / 400 for k in range(4000)]
    seen = [judge({**base, signal: [v] * 4})["score"] for v in way[::40]]
    assert max(abs(a - b) for a, b in zip(seen, seen[1:])) < 26
    fine = [judge({**base, signal: [v] * 4})["score"] for v in way[400:600]]
    assert max(abs(a - b) for a, b in zip(fine, fine[1:])) < 2


@given(NOW_VALUES)
@settings(max_examples=80, deadline=None)
def test_a_score_has_a_range_and_reasons_that_add_up(values):
    got = judge(values)
    assert 0 <= got["score"] <= 100
    assert got["coverage"] == pytest.approx(1)
    shares = [r["share"] for r in got["reasons"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(0 if got["score"] == 100 else 1)
    product = math.prod(1 - r["lost"] / 100 for r in got["reasons"])
    assert got["score"] == pytest.approx(100 * product)


def test_what_the_words_say():
    base = {name: [v] * 4 for name, v in USUAL.items()}
    assert judge(base)["score"] == 100
    at_objective = judge({**base, "errors": [0.01] * 4}, normal=False)
    assert at_objective["score"] == pytest.approx(50)
    assert judge({**base, "errors": [0.02] * 4}, normal=False)["score"] == pytest.approx(25)
    assert judge({**base, "errors": [0.1] * 4}, normal=False)["score"] == pytest.approx(5)
    assert at_objective["reasons"][0] == {
        "signal": "errors", "share": 1.0, "lost": pytest.approx(50), "observed": pytest.approx(0.01), "usual": None,
        "objective": 0.01, "note": "close to its objective, but of 200 requests only: 0.27% is sure",
    }  # fmt: skip
    many = {**base, "traffic": [5e5] * 4}
    notes = [judge({**many, "errors": [e] * 4}, normal=False)["reasons"][0]["note"] for e in (0.006, 0.01, 0.011)]
    assert notes == ["close to its objective", "close to its objective", "worse than its objective"]
    gone = judge({**base, "traffic": [0.0] * 4})
    assert gone["score"] == 0
    assert gone["reasons"][0]["signal"] == "traffic"
    unusual = judge({**base, "latency": [110.0] * 4}, objectives={"latency": 1000.0})
    assert unusual["reasons"][0]["note"] == "worse than its usual"
    assert unusual["score"] > 50
    assert judge({**base, "latency": [110.0] * 4}, objectives={})["score"] < unusual["score"]


@given(NOW_VALUES, st.floats(0.1, 50))
@settings(max_examples=50, deadline=None)
def test_services_are_measured_in_parts_of_their_own(values, scale):
    """A service ten times as slow, with ten times the objective, is as healthy; so are a large one and a small one."""

    def scaled(one):
        factor = pl.when(pl.col("signal").is_in(["latency", "traffic"])).then(scale).otherwise(1.0)
        return one.with_columns(pl.col("value") * factor, service=pl.lit("b"))

    values = {**values, "latency": [v + 200 for v in values["latency"]]}
    rows = pl.concat([frame(values), scaled(frame(values))])
    goals = {"a": MINE, "b": {name: goal * scale for name, goal in MINE.items()}}
    a, b = score(rows, objectives=goals).sort("service")["score"]
    assert a == pytest.approx(b, abs=1e-6)


def test_the_unknown_is_not_healthy():
    base = {name: [v] * 4 for name, v in USUAL.items()}
    for name in USUAL:
        got = judge({k: v for k, v in base.items() if k != name})
        assert got["score"] is None
        assert got["coverage"] < 1
        assert next(r for r in got["reasons"] if r["signal"] == name)["note"] == "no data"
    mostly = judge({**base, "latency": [None, None, None, 80.0]})
    assert mostly["score"] is None
    half = judge({**base, "latency": [None, 80.0, None, 80.0]})
    assert half["score"] == 100
    idle = judge({"saturation": [0.4] * 4, "traffic": [0.0] * 4})
    assert (idle["score"], idle["coverage"] > 0) == (0, True)  # no request can fail where there is none
    alone = score(frame({"traffic": [5.0] * 4})).row(0, named=True)
    assert (alone["score"], alone["coverage"]) == (None, 0)
    never = score(frame({"errors": [0.0] * 4})).row(0, named=True)
    assert never["score"] == 100
    assert never["coverage"] == pytest.approx(1 / 3.4)
    promised = score(frame({"errors": [0.0] * 4}), objectives={"a": {"latency": 100.0}}).row(0, named=True)
    assert promised["score"] is None


@given(NOW_VALUES, st.sampled_from([*USUAL]))
@settings(max_examples=50, deadline=None)
def test_taking_a_signal_away_never_scores_better(values, signal):
    values = {**values, "traffic": [v + 1 for v in values["traffic"]]}
    assert judge({k: v for k, v in values.items() if k != signal})["score"] is None


def test_a_service_that_fell_silent_while_others_speak_is_unknown():
    base = {name: [v] * 12 for name, v in USUAL.items()}
    rows = pl.concat([past(), past("b"), frame(base), frame({k: v[:3] for k, v in base.items()}, "b")])
    got = score(rows, since=NOW)
    assert dict(got.select("service", "score").iter_rows()) == {"a": pytest.approx(100), "b": None}
    assert got["service"].to_list() == ["a", "b"]  # unknown at the end


def test_each_signal_has_its_own_period():
    """Saturation every minute, errors every five minutes and a second late: nothing is missing."""
    rows = frame({"errors": [0.0] * 12}).with_columns(pl.col("timestamp") + timedelta(seconds=1))
    fine = [("a", "saturation", NOW + timedelta(minutes=i), 0.2) for i in range(60)]
    got = score(pl.concat([rows, pl.DataFrame(fine, SIGNALS.columns, orient="row")])).row(0, named=True)
    assert got["score"] == 100
    assert got["coverage"] == pytest.approx(1.6 / 3.4)


def test_nights_are_compared_with_nights():
    hours = [START + timedelta(minutes=30 * i) for i in range(48 * 7)]
    busy = [100.0 if 8 <= t.hour < 20 else 5.0 for t in hours]
    rows = pl.DataFrame({"service": "a", "signal": "traffic", "timestamp": hours, "value": busy})
    rows = pl.concat([rows, rows.with_columns(signal=pl.lit("errors"), value=pl.lit(0.0))])
    night = START + timedelta(days=6, hours=2)
    until = rows.filter(pl.col("timestamp") < night + timedelta(hours=2))
    assert score(until, since=night)["score"][0] == 100
    noon = START + timedelta(days=6, hours=11)
    dropped = rows.filter(pl.col("timestamp") < noon + timedelta(hours=2)).with_columns(
        value=pl.when((pl.col("timestamp") >= noon) & (pl.col("signal") == "traffic")).then(5.0).otherwise("value")
    )
    assert score(dropped, since=noon)["score"][0] < 50


def test_order_duplicates_and_what_is_not_finite():
    base = {name: [v * (1 + i / 10) for i in range(4)] for name, v in USUAL.items()}
    rows = pl.concat([past(), frame(base)])
    expected = score(rows, since=NOW, objectives=MINE)
    assert score(rows.sample(fraction=1.0, shuffle=True, seed=1), since=NOW, objectives=MINE).equals(expected)
    assert score(pl.concat([rows, rows]), since=NOW, objectives=MINE).equals(expected)
    odd = frame({"latency": [math.nan, math.inf, None, -math.inf]}).with_columns(
        pl.col("timestamp") + timedelta(seconds=1)
    )
    assert score(pl.concat([rows, odd]), since=NOW, objectives=MINE)["score"][0] == expected["score"][0]
    assert isinstance(score(rows.to_pandas(), since=NOW), pd.DataFrame)
    nothing = score(frame({"errors": [math.nan]})).row(0, named=True)
    assert (nothing["score"], nothing["coverage"]) == (None, 0)
    assert score(rows.head(0)).is_empty()


@pytest.mark.parametrize(
    ("kw", "says"),
    [
        ({"objectives": {"errors": 0}}, "above 0"),
        ({"objectives": {"errors": math.nan}}, "above 0"),
        ({"objectives": {"errors": True}}, "above 0"),
        ({"objectives": {"a": {"speed": 1}}}, "'speed'"),
        ({"objectives": {"speed": 1}}, "'speed'"),
        ({"weights": {"errors": 1.1}}, "from 0 to 1"),
        ({"since": "2026-03-01T00:00:00"}, "no time zone"),
        ({"until": "2026-03-01T00:00:00"}, "no time zone"),
        ({"since": NOW, "until": NOW}, "later than since"),
        ({"weights": dict.fromkeys(USUAL, 0)}, "all 0"),
    ],
)
def test_bad_arguments_are_refused(kw, says):
    with pytest.raises(InputError, match=says):
        score(frame({"errors": [0.1]}), **kw)


def test_bad_frames_are_refused():
    with pytest.raises(InputError, match="errors, latency, saturation, traffic"):
        score(frame({"mood": [0.1]}))
    with pytest.raises(InputError, match="missing: value"):
        score(frame({"errors": [0.1]}).drop("value"))
    with pytest.raises(InputError, match="it is a list"):
        score([1])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: score(None),
        lambda: score(frame({"errors": [0.1]}), objectives=[1]),
        lambda: score(frame({"errors": [0.1]}), weights=[1]),
        lambda: signals(points("N", "m", "Average", [1.0], {}), meaning={"N|m||Average": "svc"}),
        lambda: signals(points("N", "m", "Average", [1.0], {}), meaning={"N|m||Average": ("svc", "nosuch")}),
        lambda: signals(points("N", "m", "Average", [1.0], {}), meaning={"N|m||Average": ("svc", "errors", "x")}),
    ],
)
def test_what_is_no_frame_objective_or_meaning_is_refused(wrong):
    with pytest.raises(InputError):
        wrong()


def test_points_are_taken_as_they_come():
    pay = {"FunctionName": "pay"}
    several = pl.concat([
        points("AWS/Lambda", "Invocations", "Sum", [10.0] * 4, pay), points("AWS/Lambda", "Errors", "Sum", [0.1] * 4, pay),
    ])  # fmt: skip
    expected = score(signals(several))
    assert expected["score"].to_list() == [pytest.approx(50)]
    assert score(several).equals(expected)
    assert score(several.lazy()).equals(expected)
    assert isinstance(score(several.to_pandas()), pd.DataFrame)


def points(namespace, metric, stat, values, dimensions, step=5):
    key = series_key(namespace, metric, dimensions, stat)
    rows = [(key, NOW + timedelta(minutes=step * i), v) for i, v in enumerate(values) if v is not None]
    return pl.DataFrame(
        rows, {"series": pl.String, "timestamp": pl.Datetime("us", "UTC"), "value": pl.Float64}, orient="row"
    )


def test_signals_of_cloudwatch_metrics():
    pay = {"FunctionName": "pay"}
    got = signals(pl.concat([
        points("AWS/Lambda", "Invocations", "Sum", [10.0, None, 20.0, 40.0], pay),
        points("AWS/Lambda", "Errors", "Sum", [1.0, None, None, 50.0], pay),
        points("AWS/Lambda", "Duration", "p95", [100.0, None, 120.0, 90.0], pay),
        points("AWS/Lambda", "Errors", "Average", [0.5] * 4, pay),  # no count
        points("AWS/ApplicationELB", "TargetResponseTime", "Average", [0.25], {"LoadBalancer": "app/x"}),
        points("AWS/EC2", "CPUUtilization", "Average", [70.0], {"InstanceId": "i-1"}),
        points("Mine", "unheard.of", "Sum", [1.0], {}),
    ]))  # fmt: skip
    told = {key: one["value"].to_list() for key, one in got.group_by("service", "signal", maintain_order=True)}
    assert told == {
        ("pay", "errors"): [0.1, 0.0, 1.0], ("pay", "latency"): [100.0, 120.0, 90.0],
        ("pay", "traffic"): [10.0, 0.0, 20.0, 40.0], ("app/x", "latency"): [250.0], ("i-1", "saturation"): [pytest.approx(0.7)],
    }  # fmt: skip


def test_signals_takes_the_users_word_and_adds_counts():
    both = pl.concat([
        points("Mine", "hits", "Sum", [3.0, 4.0], {"zone": z}) for z in "ab"
    ] + [points("Mine", "wait", "Average", [v, v], {"zone": z}) for z, v in (("a", 2.0), ("b", 5.0))])  # fmt: skip
    meaning = {s: ("shop", "traffic") if "hits" in s else ("shop", "latency", 1000) for s in both["series"]}
    got = signals(both, meaning=meaning)
    assert got.filter(pl.col("signal") == "traffic")["value"].to_list() == [6.0, 8.0]
    assert got.filter(pl.col("signal") == "latency")["value"].to_list() == [5000.0, 5000.0]
    with pytest.raises(InputError, match="known meaning"):
        signals(both)
    with pytest.raises(InputError, match="known meaning"):
        signals(both.head(0))


def test_blocks_are_the_slow_ones():
    seconds = [300.0 * i for i in range(100)]
    values = [float(i % 7) for i in range(100)]
    got = health._blocks(pl.Series(seconds).to_numpy(), pl.Series(values).to_numpy(), 30000.0, 1200.0, 2)
    slow = [sum(values[k : k + 4]) / 4 for k in range(96, -1, -4)]
    assert list(got) == pytest.approx(slow)


def lambda_hours(invocations, errors, name="pay"):
    """A day of 100 requests a minute without errors, then an hour as told; None is a minute of which CloudWatch says nothing."""
    pay = {"FunctionName": name}
    day = [points("AWS/Lambda", "Invocations", "Sum", [100.0] * 1440, pay, step=1),
           points("AWS/Lambda", "Errors", "Sum", [0.0] * 1440, pay, step=1)]  # fmt: skip
    hour = [points("AWS/Lambda", metric, "Sum", values, pay, step=1).with_columns(pl.col("timestamp") + timedelta(days=1))
            for metric, values in (("Invocations", invocations), ("Errors", errors))]  # fmt: skip
    return pl.concat(day + hour)


SINCE = NOW + timedelta(days=1)


def test_errors_are_weighed_by_the_requests():
    quiet = score(lambda_hours([1000.0] * 59 + [1.0], [0.0] * 59 + [1.0]), since=SINCE).row(0, named=True)
    busy = score(lambda_hours([1.0] * 59 + [6000.0], [0.0] * 59 + [300.0]), since=SINCE).row(0, named=True)
    shares = [next(r["observed"] for r in got["reasons"] if r["signal"] == "errors") for got in (quiet, busy)]
    assert shares == pytest.approx([1 / 59001, 300 / 6059])
    assert quiet["score"] == 100
    assert busy["score"] < 15


def test_the_past_is_weighed_too():
    seconds, values, weights = (pl.Series(v).to_numpy() for v in ([0.0, 1, 2, 3], [0.0, 1, 0.5, 0.5], [99.0, 1, 0, 0]))
    assert list(health._blocks(seconds, values, 4.0, 2.0, 1, weights)) == pytest.approx([0.01])  # no request, no share


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1)), min_size=4, max_size=4),
    st.integers(0, 3),
    st.floats(0, 1),
)
@settings(max_examples=80, deadline=None)
def test_more_failed_of_as_many_never_scores_better(minutes, at, more):
    total, shares = [float(n) for n, _ in minutes], [share for _, share in minutes]
    worse = [s + (1 - s) * more if i == at else s for i, s in enumerate(shares)]
    rest = {"latency": [80.0] * 4, "saturation": [0.4] * 4, "traffic": total}
    assert judge({**rest, "errors": worse})["score"] <= judge({**rest, "errors": shares})["score"] + 1e-9


def test_silence_is_as_bad_as_failing():
    failing = [score(lambda_hours([v] * 60, [v] * 60), since=SINCE)["score"][0] for v in (100.0, 10.0, 1.0, 0.0)]
    assert failing == sorted(failing, reverse=True)
    assert failing[-1] == pytest.approx(0)
    unknown = score(frame({"traffic": [0.0] * 4, "saturation": [0.1] * 4})).row(0, named=True)
    assert unknown["score"] is None  # nobody says whether it should have traffic
    nothing = score(frame({"traffic": [0.0] * 4})).row(0, named=True)
    assert (nothing["score"], nothing["coverage"]) == (None, 0)


def test_an_outage_within_the_judged_hour_is_seen():
    other = lambda_hours([100.0] * 60, [0.0] * 60, "other")
    seen = []
    for dead in (0, 15, 30, 45, 60):
        alive = lambda_hours([100.0] * (60 - dead), [0.0] * (60 - dead))
        got = score(pl.concat([alive, other]), since=SINCE)
        seen.append(got.filter(pl.col("service") == "pay")["score"][0])
    assert seen[0] == 100
    assert all(a > b for a, b in zip(seen, seen[1:]))
    assert seen[2] < 60
    assert seen[-1] == pytest.approx(0)


def test_signals_that_break_off_have_no_score_and_gaps_lower_the_coverage():
    base = {name: [v] * 20 for name, v in USUAL.items()}
    got = [judge({**base, "errors": [0.004] * k + [None] * (20 - k)})["score"] for k in (20, 19, 18, 17, 12)]
    assert got == [pytest.approx(100)] * 3 + [None] * 2
    gaps = judge({**base, "errors": [0.004, None] * 9 + [0.004] * 2})
    assert gaps["score"] == pytest.approx(100)
    assert gaps["coverage"] == pytest.approx((2.4 + 11 / 20) / 3.4)


def test_only_known_signals_with_a_weight_can_make_a_score():
    got = score(frame({"errors": [1.0] * 4}), weights={"errors": 0}).row(0, named=True)
    assert (got["score"], got["coverage"]) == (None, 0)


@pytest.mark.parametrize("number", [200, 200.0, np.int64(200), np.float32(200)])
def test_any_real_number_is_an_objective(number):
    got = score(frame({"errors": [0.0] * 4, "latency": [200.0] * 4}), objectives={"latency": number}).row(0, named=True)
    assert got["score"] == pytest.approx(60)
    assert got["reasons"][0]["objective"] == 200.0


def test_a_clock_that_is_ahead_needs_an_until():
    base = {name: [v] * 12 for name, v in USUAL.items()}
    rows = pl.concat([past(), frame(base), frame({"errors": [0.0]}, "b", NOW + timedelta(hours=3))])
    assert score(rows, since=NOW).filter(pl.col("service") == "a")["score"][0] is None
    got = score(rows, since=NOW, until=NOW + timedelta(hours=1)).filter(pl.col("service") == "a")
    assert got["score"][0] == pytest.approx(100)
    silent = score(rows, since=NOW, until=NOW + timedelta(hours=2)).filter(pl.col("service") == "a")
    assert silent["score"][0] is None


def test_how_many_values_an_error_metric_has_is_no_count_of_errors():
    pay = {"FunctionName": "pay"}
    got = signals(pl.concat([points("AWS/Lambda", "Invocations", "Sum", [10.0] * 4, pay),
                             points("AWS/Lambda", "Errors", "SampleCount", [10.0] * 4, pay)]))  # fmt: skip
    assert got["signal"].unique().to_list() == ["traffic"]


def test_no_service_and_no_rows_are_no_crash():
    rows = frame({"errors": [0.0] * 4})
    assert score(rows.with_columns(service=pl.lit(None, pl.String))).is_empty()
    assert score(rows.head(0), since=NOW, until=NOW + timedelta(hours=1)).is_empty()
