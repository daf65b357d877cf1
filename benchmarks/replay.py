"""How long it takes to replay many alarms over a month of minutes, the frame's partition included."""

import os
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from lift_insights.alarms.replay import replay
from lift_insights.frames import series_key

START, MINUTES, ALARMS = datetime(2026, 3, 2, tzinfo=UTC), 30 * 1440, 1000
METRIC = {"Namespace": "PayTheory/Lift", "MetricName": "requests.duration"}
OPERATORS = ("GreaterThanThreshold", "LessThanThreshold")
TREATMENTS = ("missing", "notBreaching", "breaching", "ignore")


def run() -> list[dict]:
    points = history(ALARMS)
    alarms = [alarm(i) for i in range(ALARMS)]
    what = (
        f"{ALARMS:,} alarms over 30 days of 1-minute points, {len(points) / 1e6:.1f} million points, partition included"
    )
    rows = [row(what, timed(alarms, points), 10)]
    rows.append(row("… in random order of rows", timed(alarms[:100], shuffled(points)), None, "100 alarms"))
    some = points.head(200 * MINUTES)
    rows.append(
        row("100 math alarms on two metrics each, the same month", timed([math(i) for i in range(100)], some), None)
    )
    rows.append(
        row("10 anomaly alarms with our own band, the same month", timed([band(i) for i in range(10)], some), None)
    )
    return rows


def history(series: int) -> pl.DataFrame:
    """Latencies of many routes, one point a minute; every second route misses one minute in twenty."""
    rng = np.random.default_rng(7)
    times = pl.datetime_range(START, START + timedelta(minutes=MINUTES - 1), "1m", time_unit="us", eager=True)
    daily = 1 + 0.5 * np.sin(np.arange(MINUTES) * 2 * np.pi / 1440)
    parts = []
    for i in range(series):
        values = daily * rng.gamma(2, 2, MINUTES)
        whole = pl.DataFrame({"series": pl.repeat(key(i), MINUTES, eager=True), "timestamp": times, "value": values})
        parts.append(whole.filter(pl.Series(rng.random(MINUTES) < 0.95)) if i % 2 else whole)
    return pl.concat(parts)


def shuffled(points: pl.DataFrame) -> pl.DataFrame:
    return points.head(100 * MINUTES).sample(fraction=1.0, shuffle=True, seed=1)


def dimensions(i: int) -> dict[str, str]:
    return {"path": f"/payments/{i}", "method": "POST"}


def key(i: int) -> str:
    return series_key(*METRIC.values(), dimensions(i), "Average")


def pairs(i: int) -> list[dict]:
    return [{"Name": name, "Value": value} for name, value in dimensions(i).items()]


def alarm(i: int) -> dict:
    """M of N, operator and treatment change from one to the next; the threshold is crossed now and then."""
    metric = METRIC | {"Dimensions": pairs(i), "Statistic": "Average", "Period": 60 if i % 3 else 300}
    return {"AlarmName": f"alarm {i}", "EvaluationPeriods": 5, "DatapointsToAlarm": 1 + i % 5, **metric} | {
        "ComparisonOperator": OPERATORS[i % 2],
        "Threshold": (14.0, 0.3)[i % 2],
        "TreatMissingData": TREATMENTS[i % 4],
    }


def query(name: str, i: int) -> dict:
    metric = {"Metric": METRIC | {"Dimensions": pairs(i)}, "Period": 60, "Stat": "Average"}
    return {"Id": name, "MetricStat": metric, "ReturnData": False}


def math(i: int) -> dict:
    more = {"ComparisonOperator": OPERATORS[0], "Threshold": 12.0}
    queries = [query("m1", i), query("m2", i + 100), {"Id": "e1", "Expression": "(m1 + m2) / 2"}]
    return {"AlarmName": f"math {i}", "EvaluationPeriods": 5, "DatapointsToAlarm": 3, "Metrics": queries, **more}


def band(i: int) -> dict:
    more = {"ComparisonOperator": "GreaterThanUpperThreshold", "ThresholdMetricId": "ad1"}
    queries = [query("m1", i) | {"ReturnData": True}, {"Id": "ad1", "Expression": "ANOMALY_DETECTION_BAND(m1, 3)"}]
    return {"AlarmName": f"band {i}", "EvaluationPeriods": 5, "DatapointsToAlarm": 3, "Metrics": queries, **more}


def timed(alarms: list[dict], points: pl.DataFrame) -> float:
    began = time.monotonic()
    states = replay(alarms, points)
    taken = time.monotonic() - began
    assert states["alarm"].n_unique() == len(alarms)
    return taken


def row(what: str, ours: float, target: float | None, note: str = "") -> dict:
    note = ", ".join(filter(None, [note, f"{os.cpu_count()} cores"]))
    return {
        "benchmark": "replay",
        "what": what,
        "ours": ours,
        "target": target,
        "unit": "s",
        "better": "lower",
        "note": note,
    }
