"""The main job on accounts of other shapes than the samples'."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from lift_insights import report, sandbox
from lift_insights.frames import DIMENSIONS, INCIDENTS, UTC_TIME, InputError
from lift_insights.simulate import Telemetry

END = datetime(2026, 3, 16, tzinfo=UTC)
RNG = np.random.default_rng(5)


def telemetry(namespace, series, hours):
    """Series as (metric, dimensions, values a minute) over the hours before END."""
    when = [END - timedelta(minutes=m) for m in range(60 * hours, 0, -1)]
    frames = []
    for metric, dimensions, values in series:
        frames.append(
            pl.DataFrame(
                {
                    "namespace": namespace,
                    "metric": metric,
                    "dimensions": pl.Series(
                        [[{"name": k, "value": v} for k, v in dimensions.items()]] * len(when), dtype=DIMENSIONS
                    ),
                    "unit": "None",
                    "timestamp": pl.Series(when, dtype=UTC_TIME),
                    "values": [[float(v)] for v in values],
                    "counts": [[1]] * len(when),
                }
            )
        )
    logs = pl.DataFrame(
        schema={"log_group": pl.String, "log_stream": pl.String, "timestamp": UTC_TIME, "message": pl.String}
    )
    traces = pl.DataFrame(schema={"trace_id": pl.String, "document": pl.String})
    return Telemetry(pl.concat(frames), logs, traces, INCIDENTS.empty(), when[0], END)


def job(made, out, **kwargs):
    with sandbox.local(made) as session:
        return report.run(session, made.metrics["namespace"][0], made.start, made.end, out=out, **kwargs), session


def functions(hours, *names):
    n = 60 * hours
    for i, name in enumerate(names):
        calls = RNG.poisson(30, n)
        yield "Invocations", {"FunctionName": name}, calls
        yield "Errors", {"FunctionName": name}, RNG.binomial(calls, 0.01 * (i + 1))
        yield "Duration", {"FunctionName": name}, RNG.gamma(4, 20, n)


def test_lambda_functions_get_their_own_figures(tmp_path):
    made = telemetry("AWS/Lambda", list(functions(30, "pay api v1", "pay api v2", "ledger")), 30)
    done, _ = job(made, tmp_path)
    health = {h["service"]: h for h in report.health(done.analysis, report.events(done.analysis))}
    truth = made.metrics.with_columns(
        pl.col("values").list.sum().alias("v"), pl.col("dimensions").list.first().struct.field("value").alias("f")
    )
    for name in ("pay api v1", "pay api v2", "ledger"):
        mine = truth.filter(pl.col("f") == name)
        calls, errors = (mine.filter(pl.col("metric") == m)["v"].sum() for m in ("Invocations", "Errors"))
        assert health[name]["calls"] == calls
        assert health[name]["error_rate"] == pytest.approx(errors / calls)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(summary["key_metrics"]) == 9


def test_hostile_names_stay_text(tmp_path):
    evil = "</script><script>alert(1)</script>"
    made = telemetry("Odd/Names", [("CPUUtilization", {"InstanceId": evil}, RNG.normal(50, 5, 60 * 30))], 30)
    job(made, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert(1)" not in page


@pytest.mark.parametrize("minutes", [5, 10, 60])
def test_short_windows_work(tmp_path, minutes):
    made = telemetry("Short/Window", [("depth", {}, RNG.poisson(5, 120))], 2)
    with sandbox.local(made) as session:
        done = report.run(session, "Short/Window", END - timedelta(minutes=minutes), END, out=tmp_path)
    assert done.analysis.read["datapoints"] == minutes // 5


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(60 * 30),
        np.full(60 * 30, 7.0),
        np.full(60 * 30, 1e100),
        -RNG.random(60 * 30),
        (RNG.random(60 * 30) < 0.002).astype(float),
    ],
    ids=["zeros", "constant", "huge", "negative", "rare"],
)
def test_odd_series_work(tmp_path, values):
    job(telemetry("Odd/Series", [("value", {}, values)], 30), tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 1e6


def test_memory_of_several_versions_has_several_names(tmp_path):
    versions = [
        ("lambda_memory_used_mb", {"FunctionName": "pay", "Version": str(v)}, RNG.normal(100, 1, 60 * 30))
        for v in range(4)
    ]
    calls = ("operation.GET_/x", {}, RNG.poisson(30, 60 * 30))
    done, _ = job(telemetry("PayTheory/Lift", [calls, *versions], 30), tmp_path)
    names = [a["AlarmName"] for a in done.alarms]
    assert len(set(names)) == len(names) >= 4


def test_actions_are_set_and_those_attached_by_hand_are_kept(tmp_path):
    made = telemetry("AWS/Lambda", list(functions(30, "pay")), 30)
    topic = "arn:aws:sns:us-east-1:123456789012:on-call"
    with sandbox.local(made) as session:
        client = session.client("cloudwatch")
        report.run(session, "AWS/Lambda", made.start, made.end, out=tmp_path, apply=True)
        alarm = client.describe_alarms()["MetricAlarms"][0]
        known = {k: v for k, v in alarm.items() if k in ("AlarmName", "AlarmDescription", "Threshold", "EvaluationPeriods", "DatapointsToAlarm", "ComparisonOperator", "TreatMissingData", "Metrics", "MetricName", "Namespace", "Dimensions", "Period", "Statistic", "ExtendedStatistic")}  # fmt: skip
        client.put_metric_alarm(**known, AlarmActions=[topic])
        again = report.run(session, "AWS/Lambda", made.start, made.end, out=tmp_path, apply=True)
        assert set(again.plan.changes["action"]) == {"same"}
        [kept] = client.describe_alarms(AlarmNames=[alarm["AlarmName"]])["MetricAlarms"]
        assert kept["AlarmActions"] == [topic]
        report.run(session, "AWS/Lambda", made.start, made.end, out=tmp_path, apply=True, actions=(topic,))
        assert all(a["AlarmActions"] == [topic] for a in client.describe_alarms()["MetricAlarms"])


def test_two_namespaces_do_not_meet(tmp_path):
    one, two = (telemetry(name, list(functions(30, "pay")), 30) for name in ("AWS/Lambda", "Other/Lambda"))
    both = Telemetry(pl.concat([one.metrics, two.metrics]), one.logs, one.traces, one.incidents, one.start, one.end)
    with sandbox.local(both) as session:
        for name in ("AWS/Lambda", "Other/Lambda"):
            done = report.run(session, name, one.start, one.end, out=tmp_path, apply=True)
            assert set(done.plan.changes["action"]) == {"create"}


def test_a_read_only_user_still_gets_the_report(tmp_path):
    made = telemetry("AWS/Lambda", list(functions(30, "pay")), 30)
    denied = [sandbox.Fault("cloudwatch", "DescribeAlarms", status=403, code="AccessDenied"), sandbox.Fault("logs", status=403, code="AccessDenied"), sandbox.Fault("xray", status=403, code="AccessDenied")]  # fmt: skip
    with sandbox.local(made, faults=denied) as session:
        done = report.run(session, "AWS/Lambda", made.start, made.end, out=tmp_path)
    assert done.plan is None
    assert {p.split(" ")[0] for p in done.analysis.problems} == {"logs", "traces", "what"}


def test_a_hundred_functions_are_cut_and_said(tmp_path):
    made = telemetry("AWS/Lambda", list(functions(6, *(f"f{i:03}" for i in range(60)))), 6)
    done, _ = job(made, tmp_path)
    assert len(done.analysis.keys) == 120
    assert any("120 of 180" in p for p in done.analysis.problems)
    assert (tmp_path / "report.html").stat().st_size < 8e6


def test_times_past_retention_are_refused_on_an_account(monkeypatch):
    from lift_insights import analysis

    with sandbox.local(telemetry("A/B", [("x", {}, range(120))], 2)) as session:
        monkeypatch.setattr(session, "endpoint_url", None)
        with pytest.raises(InputError, match="use --period 3600"):
            analysis._kept_so_long(session, END - timedelta(days=90), 300)
        analysis._kept_so_long(session, END - timedelta(days=14), 300)


def test_nothing_is_half_written(tmp_path, monkeypatch):
    folder = report.prepare(tmp_path / "out")

    def full(*_):
        raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr(report.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        report.write(folder, dict.fromkeys(report.FILES, "text"))
    assert list(folder.iterdir()) == []
