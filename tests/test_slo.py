"""Objectives, error budgets, burn rates and their alarms: published figures, slow twins, properties, bad input."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms import slo
from lift_insights.alarms.objectives import Objective, counts
from lift_insights.frames import InputError, series_key

START = datetime(2026, 3, 1, tzinfo=UTC)
TOTAL, BAD, GOOD = (series_key("PayTheory/Lift", f"requests.{name}", {}, "Sum") for name in ("total", "errors", "good"))
PAY = Objective("pay", target=0.999, total=TOTAL, bad=BAD)


def points_of(total, bad, *, step_s=60, start=START, names=(TOTAL, BAD)):
    """Points of two counts, one a step; NaN where there is no datapoint."""
    frames = []
    for name, values in zip(names, (total, bad)):
        values = np.asarray(values, float)
        stamps = [start + timedelta(seconds=step_s * i) for i in range(len(values))]
        frame = pl.DataFrame({"series": [name] * len(values), "timestamp": stamps, "value": values})
        frames.append(frame.filter(pl.col("value").is_not_nan()))
    return pl.concat(frames)


def traffic(minutes, *, rate=100.0, share=0.001, seed=0, bursts=()):
    """Poisson traffic with a share of failures, which is another one within each burst (from, to, share)."""
    rng = np.random.default_rng(seed)
    total = rng.poisson(rate, minutes).astype(float)
    shares = np.full(minutes, share)
    for low, high, other in bursts:
        shares[low:high] = other
    bad = rng.binomial(total.astype(int), shares).astype(float)
    return np.where(total > 0, total, np.nan), np.where(bad > 0, bad, np.nan)


# What the SRE workbook prints, chapter 5 "Alerting on SLOs"


def test_rules_are_those_of_table_5_8():
    found = [(r.severity, r.long_s, r.short_s, r.burn, r.share) for r in slo.rules(PAY)]
    assert found == [
        ("page", 3600, 300, 14.4, 0.02),
        ("page", 21_600, 1800, 6.0, 0.05),
        ("ticket", 259_200, 21_600, 1.0, 0.1),
    ]


@pytest.mark.parametrize(
    ("burn", "days"), [(1, 30), (2, 15), (10, 3), (1000, 0.03)]
)  # table 5-4: 30 days, 15 days, 3 days, 43 minutes
def test_time_to_exhaustion_is_that_of_table_5_4(burn, days):
    minutes = 10
    points = points_of([1000.0] * minutes, [burn * 1.0] * minutes)
    row = slo.budget(PAY, points, recent="10m", partial=True).row(0, named=True)
    whole = (row["runs_out"] - row["end"]).total_seconds() / row["left"] / 86_400 if row["left"] > 0 else None
    assert row["burn"] == pytest.approx(burn)
    assert whole == pytest.approx(days)


@pytest.mark.parametrize(("error", "minutes"), [(1.0, 0.864), (0.1, 8.64), (0.02, 43.2), (0.0145, 59.6)])
def test_detection_time_is_the_workbooks_formula(error, minutes):
    """(1 - SLO) / error ratio × window × burn rate: rounded up to the minute in which the alarm is evaluated."""
    quiet, size = 3 * 3600 // 60, 120
    total = np.full(quiet + size, 100_000.0)
    bad = np.where(np.arange(quiet + size) < quiet, 0.0, total * error)
    made = [one for one in slo.alarms(PAY) if "14.4" in one.get("AlarmRule", "") or " 14.4 " in one["AlarmName"]]
    made[-1] = made[-1] | {"AlarmRule": made[-1]["AlarmRule"].split(" OR ")[0]}
    states = slo.replay(made, points_of(total, bad)).filter(
        pl.col("alarm") == "pay burns: page", pl.col("state") == "ALARM"
    )
    delay = (states["timestamp"][0] - START).total_seconds() / 60 - quiet
    assert minutes <= delay <= minutes + 1


def test_downtime_of_a_month():
    """99.9 % of thirty days are 43.2 minutes; CreateServiceLevelObjective: 99.95 % of a month are 21.9 minutes (a twelfth of a year)."""
    april = compliance_of(1.0, start=datetime(2026, 4, 1, tzinfo=UTC), days=30)
    assert april["allowed_min"][0] == pytest.approx(43.2)
    year = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    assert np.mean([d * 1440 * 0.0005 for d in year]) == pytest.approx(21.9)


def compliance_of(bad_share, *, start, days, objective=PAY, by="month", **kwargs):
    n = days * 24
    points = points_of([1000.0] * n, [bad_share] * n, step_s=3600, start=start)
    return slo.compliance(objective, points, by, gap="2h", **kwargs)


# Slow twins


def slow_sums(points, end, window_s, objective=PAY):
    """Requests and bad ones in a window, one row at a time."""
    low, sums = end - timedelta(seconds=window_s), {"total": 0.0, "bad": 0.0}
    for series, stamp, value in points.iter_rows():
        if low <= stamp < end:
            sums["total" if series in objective.total else "bad"] += value
    return sums["total"], sums["bad"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.sampled_from([60, 300]), st.floats(0, 0.5))
def test_burn_is_the_slow_twins(seed, steps, step_s, holes):
    rng = np.random.default_rng(seed)
    total = rng.integers(0, 30, steps).astype(float)
    bad = np.minimum(rng.integers(0, 5, steps), total).astype(float)
    total[0] = total[-1] = 10
    gone = rng.random(steps) < holes
    gone[[0, -1]] = False
    points = points_of(np.where(gone, np.nan, total), np.where(gone, np.nan, bad), step_s=step_s)
    window = max(1, steps // 3) * step_s
    found = slo.burn(PAY, points, f"{window}s")
    step = _usual_step(points)
    first, last = -(-window // step) * step, (steps - 1) * step_s + step
    expected = {}
    for end in (START + timedelta(seconds=s) for s in range(first, last + 1, step)):
        n, k = slow_sums(points, end, window)
        if n > 0:
            expected[end] = min(k / n, 1) / 0.001
    assert dict(found.select("timestamp", "value").iter_rows()) == pytest.approx(expected)


def _usual_step(points):
    seconds = np.unique(points["timestamp"].dt.epoch("s").to_numpy())
    values, many = np.unique(np.diff(seconds), return_counts=True)
    return int(values[many.argmax()])


def slow_rule(total, bad, rules, budget, min_bad, *, hourly=False, step_s=60):
    """In which steps the rule holds, straight from the definition; step i ends at i + 1."""
    held = []
    for end in range(1, len(total) + 1):
        any_rule = False
        for rule in rules:
            both = True
            for window, least in ((rule.long_s, min_bad), (rule.short_s, 1)):
                at = end if window <= 86_400 or not hourly else end // 60 * 60
                low = max(0, at - window // step_s)
                n, k = np.nansum(total[low:at]), np.nansum(bad[low:at])
                sure = ((n * budget) ** 0.5 + (least - 1) ** 0.5) ** 2 if rule.severity == "page" else least - 1
                enough = k > sure if least > 1 else k > 0
                both &= bool(enough and n > 0 and k / n / budget > rule.burn)
            any_rule |= both
        held.append(any_rule)
    return np.array(held)


def state_by_minute(states, alarm, minutes):
    held = np.zeros(minutes, bool)
    for stamp, state in (
        states.filter(pl.col("alarm") == alarm).sort("timestamp").select("timestamp", "state").iter_rows()
    ):
        held[int((stamp - START).total_seconds() // 60) - 1 :] = state == "ALARM"
    return held


def test_the_alarms_are_the_exact_rule():
    """Minute by minute, on histories with thin traffic, holes and bursts: the page is the rule itself."""
    paged = 0
    for seed in range(8):
        minutes, rng = 1500, np.random.default_rng(1000 + seed)
        ends = zip(rng.integers(200, 1300, 3), rng.integers(5, 200, 3), rng.choice([0.008, 0.02, 0.3], 3))
        bursts = [(int(low), int(low + size), float(share)) for low, size, share in ends]
        total, bad = traffic(minutes, rate=float(rng.choice([0.3, 5, 200])), seed=seed, bursts=bursts)
        total[0], bad[0], total[-1] = 1.0, 0.0, 1.0
        states = slo.replay(slo.alarms(PAY), points_of(total, bad))
        expected = slow_rule(total, bad, [r for r in slo.rules(PAY) if r.severity == "page"], 0.001, 4)
        assert (state_by_minute(states, "pay burns: page", minutes) == expected).all()
        paged += bool(expected.any())
    assert paged >= 4


def test_points_of_five_minutes_are_evaluated_every_five_minutes():
    steps = 400
    total, bad = traffic(steps, rate=300, share=0.0005, seed=4, bursts=[(200, 220, 0.05), (300, 301, 0.9)])
    bad[0], total[-1] = 0.0, 300.0
    states = slo.replay(slo.alarms(PAY), points_of(total, bad, step_s=300))
    held = np.zeros(steps, bool)
    for stamp, state in (
        states.filter(pl.col("alarm") == "pay burns: page").sort("timestamp").select("timestamp", "state").iter_rows()
    ):
        held[int((stamp - START).total_seconds() // 300) - 1 :] = state == "ALARM"
    pages = [rule for rule in slo.rules(PAY) if rule.severity == "page"]
    expected = slow_rule(total, bad, pages, 0.001, 4, step_s=300).tolist()
    assert sum(expected) > 10
    assert held.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 60), min_size=2), st.integers(-10, 70), st.integers(0, 40), st.integers(1, 12))
def test_what_is_known_is_the_slow_twins(minutes, start, size, gap):
    """A minute is known that holds a datapoint, or lies between two that are at most the gap apart."""
    there = sorted(minutes)
    known = set(there) | {m for a, b in zip(there, there[1:]) if b - a <= gap for m in range(a, b)}
    table = pl.DataFrame({"timestamp": [START + timedelta(minutes=m) for m in there]})
    edges = [np.array([(START + timedelta(minutes=m)).timestamp()]) for m in (start, start + size)]
    assert slo._seen(table, 60, gap * 60.0, *edges)[0] == pytest.approx(
        60.0 * len(known & set(range(start, start + size)))
    )


def test_the_ticket_is_the_exact_rule_once_an_hour():
    minutes = 5 * 1440
    total, bad = traffic(minutes, rate=30, share=0.0005, seed=3, bursts=[(2000, 4300, 0.004)])
    total[0] = total[-1] = 30.0
    ticket = [r for r in slo.rules(PAY) if r.severity == "ticket"]
    states = slo.replay(slo.alarms(PAY), points_of(total, bad))
    held = state_by_minute(states, "pay burns: ticket", minutes)
    assert held.any()
    assert not held[:2000].any()
    assert (held == slow_rule(total, bad, ticket, 0.001, 4, hourly=True)).all()
    exact = slow_rule(total, bad, ticket, 0.001, 4)
    assert all(held[end] for end in range(60, minutes) if exact[end - 60 : end + 1].all())  # at most an hour later


def test_alarms_of_slices_count_bad_slices():
    minutes = 600
    objective = replace(PAY, slice_s=60, slice_target=0.9)
    total, bad = np.full(minutes, 10.0), np.zeros(minutes)
    bad[300:320] = 5.0
    made = slo.alarms(objective)
    states = slo.replay(made, points_of(total, bad))
    assert [r.long_s for r in slo.rules(objective)] == [3600, 21_600, 86_400]
    held = state_by_minute(states, "pay burns: page", minutes)
    expected = np.zeros(minutes, bool)
    for end in range(1, minutes + 1):
        for rule in slo.rules(objective)[:2]:
            parts = [
                (bad[max(0, end - w // 60) : end] > 1).sum() > rule.burn * 0.001 * (w // 60)
                for w in (rule.long_s, rule.short_s)
            ]
            expected[end - 1] |= all(parts)
    assert expected.any()
    assert (held == expected).all()


# Properties


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=3, max_size=40), st.data())
def test_spent_never_falls_when_more_is_bad(rows, data):
    total = np.array([max(n, k) for n, k in rows], float)
    bad = np.array([k for _, k in rows], float)
    i = data.draw(st.integers(0, len(rows) - 1))
    objective = replace(PAY, target=0.9, window_days=len(rows) / 24)
    before = slo.budget(objective, points_of(total, bad, step_s=3600), recent="2h").row(0, named=True)
    bad[i] = min(bad[i] + 1, total[i])
    after = slo.budget(objective, points_of(total, bad, step_s=3600), recent="2h").row(0, named=True)
    assert after["spent"] >= before["spent"]
    assert after["left"] <= before["left"]
    assert after["spent"] + after["left"] == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([0.9, 0.99, 0.995, 0.999]), st.sampled_from([7, 28, 30]), st.sampled_from([0.5, 1.0, 2.0]))
def test_a_burn_of_one_spends_the_budget_in_its_window(target, days, rate):
    objective = replace(PAY, target=target, window_days=days)
    n = days * 24
    points = points_of([1e6] * n, [1e6 * objective.budget * rate] * n, step_s=3600)
    row = slo.budget(objective, points).row(0, named=True)
    assert row["spent"] == pytest.approx(rate)
    assert row["burn"] == pytest.approx(rate)
    over = slo.burn(objective, points, f"{days}d")
    assert len(over) == 1
    assert over["value"][0] == pytest.approx(rate)
    if rate == 0.5:  # half is left, and goes at half the speed
        assert (row["runs_out"] - row["end"]).total_seconds() == pytest.approx(days * 86_400, rel=1e-6)
        assert row["runs_out_lo"] <= row["runs_out"] <= row["runs_out_hi"]
        assert row["status"] == "healthy"
    else:
        assert row["status"] == ("exhausted" if rate > 1 or row["left"] <= 0 else "at risk")


def test_no_data_is_unknown_and_not_all_well():
    n = 40 * 24
    total = np.full(n, 100.0)
    points = points_of(total, [0.0] * n, step_s=3600)
    row = slo.budget(PAY, points, end=START + timedelta(days=400), partial=True).row(0, named=True)
    assert row["status"] == "unknown"
    assert row["attained"] is None
    assert row["spent"] is None
    assert row["coverage"] == 0
    total[40:60] = np.nan
    holes = slo.compliance(PAY, points_of(total, np.where(np.isnan(total), np.nan, 0.0), step_s=3600), "day", gap="2h")
    assert holes["status"].to_list()[:4] == ["met", "unknown", "unknown", "met"]
    assert holes["coverage"][1] == pytest.approx(16 / 24, abs=1e-9)
    assert (
        slo.compliance(PAY, points_of(total, np.where(np.isnan(total), np.nan, 0.0), step_s=3600), "day", gap="30h")[
            "status"
        ][1]
        == "met"
    )


def test_holes_lower_the_coverage_of_a_budget():
    total = np.full(30 * 24, 100.0)
    total[100:172] = np.nan
    row = slo.budget(PAY, points_of(total, np.where(np.isnan(total), np.nan, 0.0), step_s=3600), gap="2h").row(
        0, named=True
    )
    assert row["coverage"] == pytest.approx(0.9)
    assert row["status"] == "healthy"
    assert row["runs_out"] is None
    assert row["runs_out_lo"] > row["end"]


def test_slices_without_requests_count_for_nothing():
    total, bad = np.full(240, 10.0), np.zeros(240)
    total[60:120], bad[120:130] = 0.0, 5.0
    table = counts(replace(PAY, slice_s=300, slice_target=0.9), points_of(total, bad))
    assert table.select(pl.len(), pl.col("bad").sum()).row(0) == (36, 2.0)
    assert slo.compliance(replace(PAY, slice_s=300, slice_target=0.9), points_of(total, bad), "day", gap="2h")[
        "status"
    ].to_list() == ["unknown"]


def test_windows_without_requests_have_no_burn_rate():
    total = np.array([10.0] * 60 + [0.0] * 60 + [10.0] * 60)
    found = slo.burn(PAY, points_of(total, [0.0] * 180), "10m")
    empty = found.filter(pl.col("timestamp").is_between(START + timedelta(minutes=70), START + timedelta(minutes=120)))
    assert empty.is_empty()
    assert len(found) == 171 - 51


@pytest.mark.parametrize("clustered", [False, True])
def test_the_interval_holds_what_it_says(clustered):
    """Of many recent days with a known share of failures, about 90 % of the intervals hold it; bursts widen them."""
    rng, held, share = np.random.default_rng(5), 0, 0.004
    for _ in range(400):
        total = rng.poisson(500, 12).astype(float)
        rates = rng.gamma(2, share / 2, 12) if clustered else np.full(12, share)
        low, high = slo._interval(total, rng.binomial(total.astype(int), np.minimum(rates, 1)).astype(float), 0.9)
        held += low <= share <= high
    assert 0.84 <= held / 400 <= 0.99


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "America/St_Johns"])
@pytest.mark.parametrize("by", ["day", "week", "month", "quarter"])
def test_calendar_windows_are_the_slow_twins(tz, by):
    n, zone = 100 * 24, ZoneInfo(tz)  # over the change to summer time
    rng = np.random.default_rng(9)
    total, bad = rng.integers(1, 100, n).astype(float), np.zeros(n)
    bad[rng.integers(0, n, 20)] = 1
    found = slo.compliance(PAY, points_of(total, bad, step_s=3600), by, tz=tz, gap="2h")
    sums = {}
    for i in range(n):
        day = (START + timedelta(hours=i)).astimezone(zone).date()
        key = {
            "day": day,
            "week": day - timedelta(days=day.weekday()),
            "month": day.replace(day=1),
            "quarter": day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1),
        }[by]
        one = sums.setdefault(key, [0.0, 0.0])
        one[0] += total[i]
        one[1] += bad[i]
    assert dict(zip(found["start"].dt.date(), found.select("total", "bad").rows())) == {
        key: tuple(one) for key, one in sums.items()
    }
    whole = found.filter(pl.col("coverage") > 0.999)
    assert (
        whole["status"]
        == pl.select(
            pl.when(whole["bad"] / whole["total"] <= 0.001).then(pl.lit("met")).otherwise(pl.lit("missed"))
        ).to_series()
    ).all()
    assert set(found.filter(pl.col("coverage") < 0.99)["status"]) <= {"unknown"}


@pytest.mark.parametrize(("days", "rates"), [(30, (0.5, 2, 200)), (7, (2, 10, 50))])
def test_nobody_is_woken_by_what_the_promise_allows(days, rates):
    """Twenty days that spend exactly the budget, with much and with little traffic, hardly page, also where burn rates are low."""
    paged = carefree = 0
    for seed, rate in enumerate(rates):
        total, bad = traffic(20 * 1440, rate=rate, share=0.001, seed=seed)
        total[0] = total[-1] = rate
        points, objective = points_of(total, bad), replace(PAY, window_days=days)
        for least in (4, 1):
            states = slo.replay(slo.alarms(objective, min_bad=least), points)
            many = states.filter(pl.col("alarm") == "pay burns: page", pl.col("state") == "ALARM").height
            paged, carefree = paged + many * (least == 4), carefree + many * (least == 1)
    assert paged <= 1
    assert carefree >= 10


# What the alarms say


def test_alarms_say_what_they_mean():
    made = slo.alarms(
        PAY,
        name_prefix="prod",
        actions=("arn:aws:sns:eu-central-1:111111111111:page",),
        ticket_actions=("arn:aws:sns:eu-central-1:111111111111:look",),
    )
    singles, together = [a for a in made if "Metrics" in a], [a for a in made if "AlarmRule" in a]
    assert [len(singles), len(together)] == [6, 2]
    assert all(a["AlarmName"].startswith("prod pay") for a in made)
    assert {a["AlarmName"] for a in singles} == {
        part.split('"')[0] for a in together for part in a["AlarmRule"].split('ALARM("')[1:]
    }
    assert "all of it in 2.08 days" in together[0]["AlarmDescription"]  # table 5-4: 30 days / 14.4
    assert "all of it in 5 days" in together[0]["AlarmDescription"]
    assert all("sre.google" in a["AlarmDescription"] for a in together)
    assert together[0]["AlarmActions"] != together[1]["AlarmActions"]
    assert not any("AlarmActions" in a for a in singles)


@pytest.mark.parametrize("days", [3, 4, 7, 14, 28, 30, 90, 365])
@pytest.mark.parametrize("slice_s", [0, 60, 300])
def test_names_are_unique_and_rules_grow_slower(days, slice_s):
    made = slo.alarms(replace(PAY, window_days=days, slice_s=slice_s))
    assert len({one["AlarmName"] for one in made}) == len(made)
    assert all(len(one["AlarmDescription"]) < 1024 for one in made)
    assert sorted((rule.burn for rule in slo.rules(replace(PAY, window_days=days))), reverse=True) == [
        r.burn for r in slo.rules(replace(PAY, window_days=days))
    ]


@pytest.mark.parametrize("change", [{}, {"slice_s": 300}, {"window_days": 7}, {"target": 0.9}, {"bad": (BAD, GOOD)}])
def test_botocore_takes_the_alarms(change):
    """The shapes of PutMetricAlarm and PutCompositeAlarm, from AWS's own service model."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model("cloudwatch")
    for alarm in slo.alarms(replace(PAY, **change), actions=("arn:aws:sns:eu-central-1:111111111111:page",)):
        operation = "PutCompositeAlarm" if "AlarmRule" in alarm else "PutMetricAlarm"
        report = ParamValidator().validate(alarm, model.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()


def test_rules_that_could_never_fire_are_left_out():
    """Of a target of 90 % not even an outage burns more than ten times as fast."""
    assert [rule.burn for rule in slo.rules(replace(PAY, target=0.9))] == [6, 1]
    assert all(rule.burn >= 1 for rule in slo.rules(replace(PAY, window_days=7)))
    assert {one["ComparisonOperator"] for one in slo.alarms(PAY) if "Metrics" in one} == {
        "GreaterThanThreshold"
    }  # "exceeds"


def test_latency_counts_durations_up_to_the_threshold():
    key = series_key("AWS/Lambda", "Duration", {"FunctionName": "pay"}, "p99")
    quick = Objective("quick", "latency", 0.99, total=key, threshold_ms=300)
    assert quick.good == (series_key("AWS/Lambda", "Duration", {"FunctionName": "pay"}, "TC(:300)"),)
    assert quick.total == (series_key("AWS/Lambda", "Duration", {"FunctionName": "pay"}, "SampleCount"),)
    points = points_of([100.0] * 120, [99.5] * 120, names=(*quick.total, *quick.good))
    assert counts(quick, points)["bad"].sum() == pytest.approx(60)
    burst = points_of([100.0] * 240, [100.0] * 180 + [40.0] * 60, names=(*quick.total, *quick.good))
    states = slo.replay(slo.alarms(quick), burst)
    assert states.filter(pl.col("alarm") == "quick burns: page", pl.col("state") == "ALARM").height == 1
    assert slo.alarms(quick)[0]["Metrics"][1]["MetricStat"]["Stat"] == "TC(:300)"


def test_good_and_bad_make_the_total():
    both = replace(PAY, total=(), good=GOOD)
    points = points_of([90.0] * 10, [10.0] * 10, names=(GOOD, BAD))
    assert counts(both, points).sum().row(0)[1:] == (1000.0, 100.0)
    from_good = replace(PAY, bad=(), good=GOOD)
    assert counts(from_good, points_of([100.0] * 10, [90.0] * 10, names=(TOTAL, GOOD)))["bad"].sum() == 100


def test_queries_name_series_too():
    metric = {
        "Metric": {"Namespace": "PayTheory/Lift", "MetricName": "requests.total", "Dimensions": []},
        "Period": 60,
        "Stat": "Sum",
    }
    assert Objective("pay", total={"Id": "m1", "MetricStat": metric}, bad=BAD).total == (TOTAL,)
    with pytest.raises(InputError, match="queries with a MetricStat"):
        Objective("pay", total={"Id": "m1", "Expression": "a + b"}, bad=BAD)


def test_from_the_account_and_back():
    """Durations sent to (local) CloudWatch are counted up to the threshold, and it takes the alarms."""
    from lift_insights import sandbox
    from lift_insights.sources import metrics

    quick = Objective(
        "quick",
        "latency",
        0.9,
        total=series_key("Shop", "duration", {"path": "/pay"}, "Average"),
        threshold_ms=300,
        window_days=1,
    )
    when = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
    with sandbox.local(samples=None) as session:
        client = session.client("cloudwatch")
        data = [
            {
                "MetricName": "duration",
                "Dimensions": [{"Name": "path", "Value": "/pay"}],
                "Timestamp": when + timedelta(minutes=i),
                "Values": [100.0, 300.0, 301.0],
                "Counts": [5.0, 3.0, 2.0],
            }
            for i in range(2)
        ]
        client.put_metric_data(Namespace="Shop", MetricData=data)
        points = metrics.read(session, slo.queries(quick), when, when + timedelta(minutes=10), period_s=60)
        for alarm in slo.alarms(quick):
            (client.put_composite_alarm if "AlarmRule" in alarm else client.put_metric_alarm)(**alarm)
        kept = client.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    assert counts(quick, points).select("total", "bad").rows() == [(10.0, 2.0), (10.0, 2.0)]
    assert len(kept["MetricAlarms"]) + len(kept["CompositeAlarms"]) == len(slo.alarms(quick))


# Bad input


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target": 1.0}, "no budget to spend"), ({"target": 1}, "no budget"), ({"target": 100}, "above 0 and below 1"), ({"target": 99.9}, "99.9 % is 0.999"),
        ({"target": 0}, "above 0"), ({"target": -0.1}, "above 0"), ({"target": float("nan")}, "above 0"), ({"target": "high"}, "above 0"),
        ({"kind": "speed"}, "availability, latency"), ({"name": "Zahlung €"}, "ASCII"), ({"name": ""}, "ASCII"), ({"name": 'a "b"'}, "ASCII"), ({"name": None}, "ASCII"),
        ({"threshold_ms": 300}, "kind is latency"), ({"kind": "latency"}, "threshold_ms"), ({"kind": "latency", "threshold_ms": -1}, "above 0"), ({"kind": "latency", "threshold_ms": "300"}, "above 0"), ({"total": 7}, "queries"),
        ({"window_days": 0}, "window_days"), ({"window_days": 1000}, "455"), ({"slice_s": 90}, "multiple of 60"), ({"slice_s": 86_400 * 40}, "shorter than the window"),
        ({"slice_target": 1.5}, "slice_target"), ({"bad": ()}, "two of total"), ({"good": GOOD}, "two of total"), ({"total": (TOTAL, TOTAL)}, "twice"), ({"total": (7,)}, "queries"),
        ({"total": TOTAL.replace("|Sum", "|Average")}, "Sum, SampleCount"),
    ],
)  # fmt: skip
def test_objectives_nobody_could_keep(change, says):
    with pytest.raises(InputError, match=says):
        replace(PAY, **change)


def test_points_that_do_not_fit():
    fine = points_of([10.0] * 60, [0.0] * 60)
    with pytest.raises(InputError, match="needs points of PayTheory"):
        counts(PAY, fine.filter(pl.col("series") == BAD))
    with pytest.raises(InputError, match="quiet=True"):
        counts(PAY, fine.filter(pl.col("series") == TOTAL))
    assert counts(replace(PAY, quiet=True), fine.filter(pl.col("series") == TOTAL))["bad"].sum() == 0
    with pytest.raises(InputError, match="cannot be negative"):
        counts(PAY, points_of([10.0, 10.0], [0.0, -1.0]))
    with pytest.raises(InputError, match="20 bad of 10 requests"):
        counts(PAY, points_of([5.0, 5.0], [10.0, 10.0]))
    with pytest.raises(InputError, match="7200 s apart"):
        counts(replace(PAY, slice_s=90 * 60), points_of([10.0] * 10, [0.0] * 10, step_s=7200))
    with pytest.raises(InputError, match="no time zone"):
        counts(PAY, fine.with_columns(pl.col("timestamp").dt.replace_time_zone(None)))
    with pytest.raises(InputError, match="no time zone"):
        slo.budget(PAY, fine, end=datetime(2026, 3, 2), partial=True)  # noqa: DTZ001
    with pytest.raises(InputError, match="needs that much history"):
        slo.burn(PAY, fine, ("30m", "3d"))
    with pytest.raises(InputError, match="a duration needs"):
        slo.burn(PAY, fine, "soon")
    with pytest.raises(InputError, match="partial=True"):
        slo.budget(PAY, fine)
    with pytest.raises(InputError, match="between 0 and 1"):
        slo.budget(PAY, fine, partial=True, level=90)
    with pytest.raises(InputError, match="day, week, month, quarter"):
        slo.compliance(PAY, fine, "year")
    for tz in ("Mars/Olympus", "", "../etc/passwd", None):
        with pytest.raises(InputError, match="IANA time zone"):
            slo.compliance(PAY, fine, tz=tz)


def test_alarms_that_cannot_be():
    with pytest.raises(InputError, match="no burn-rate rule suits"):
        slo.rules(replace(PAY, window_days=0.01))
    with pytest.raises(InputError, match="no burn-rate rule suits"):
        slo.alarms(replace(PAY, slice_s=259_200))
    with pytest.raises(InputError, match="10 metrics"):
        slo.alarms(replace(PAY, bad=tuple(series_key("N", f"e{i}", {}, "Sum") for i in range(12))))
    with pytest.raises(InputError, match="namespace"):
        slo.alarms(replace(PAY, total="my requests"))
    with pytest.raises(InputError, match="whole number"):
        slo.alarms(PAY, min_bad=0)
    average = [one for one in slo.alarms(PAY) if "Metrics" in one][:1]
    average[0]["Metrics"][0]["MetricStat"]["Stat"] = "Average"
    with pytest.raises(InputError, match="add up"):
        slo.replay(average, points_of([1.0] * 5, [0.0] * 5))
    with pytest.raises(InputError, match="needs points of PayTheory"):
        slo.replay(slo.alarms(PAY), points_of([1.0] * 5, [0.0] * 5, names=("a", "b")))
    with pytest.raises(InputError, match="there are none"):
        slo.replay(
            slo.alarms(PAY),
            points_of([], []).cast({"series": pl.String, "timestamp": pl.Datetime("us", "UTC"), "value": pl.Float64}),
        )


def test_duplicates_order_and_nan_do_not_matter():
    total, bad = traffic(300, seed=1, share=0.01)
    points = points_of(total, bad)
    twice = pl.concat(
        [
            points,
            points.sample(fraction=1, shuffle=True, seed=2),
            points.head(5).with_columns(
                timestamp=pl.col("timestamp") + pl.duration(days=1), value=pl.lit(float("nan"))
            ),
        ]
    )
    first = slo.burn(PAY, points, "1h").select("timestamp", "value")
    assert first.equals(slo.burn(PAY, twice, "1h").select("timestamp", "value"))


def test_pandas_in_pandas_out():
    pd = pytest.importorskip("pandas")
    found = slo.budget(PAY, points_of([10.0] * 60, [0.0] * 60).to_pandas(), partial=True)
    assert isinstance(found, pd.DataFrame)


def test_a_budget_that_is_spent_brings_a_ticket():
    minutes = 31 * 1440
    total = np.ones(minutes)
    bad = (np.arange(minutes) % 333 == 0).astype(float)  # three times what is allowed, one request a minute
    points = points_of(total, bad)
    assert slo.budget(PAY, points)["status"][0] == "exhausted"
    assert (
        slo.replay(slo.alarms(PAY), points).filter(pl.col("alarm") == "pay burns: ticket")["state"] == "ALARM"
    ).any()


def test_a_budget_on_hardly_any_data_is_unknown():
    points = points_of(np.ones(31 * 1440), np.zeros(31 * 1440))
    ends = points.filter(
        (pl.col("timestamp") < points["timestamp"].min() + timedelta(hours=1))
        | (pl.col("timestamp") > points["timestamp"].max() - timedelta(hours=1))
    )
    assert slo.budget(PAY, points)["status"][0] == "healthy"
    assert slo.budget(PAY, ends)["status"][0] == "unknown"


@pytest.mark.parametrize(
    "zone", ["America/Asuncion", "Africa/Cairo", "Asia/Beirut", "America/Santiago", "America/Havana", "Europe/Berlin"]
)
@pytest.mark.parametrize("by", ["day", "week", "month", "quarter"])
def test_no_request_is_lost_where_clocks_change_at_midnight(zone, by):
    stamps = pl.datetime_range(
        datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC), "1h", eager=True, time_unit="us"
    )
    series = [
        pl.DataFrame({"series": key, "timestamp": stamps, "value": value})
        for key, value in ((PAY.total[0], 10.0), (PAY.bad[0], 0.0))
    ]
    found = slo.compliance(PAY, pl.concat(series), by, tz=zone)
    assert found["total"].sum() == 10 * len(stamps)
    assert (found["start"][1:] == found["end"][:-1]).all()
    assert (found["start"] < found["end"]).all()
