"""Reading from the local AWS at full size: exactness, calls against the least there could be, and speed beside peers.

Rows that say "wrong" count datapoints, events or spans that only one of the two sides has: what was read, and what a
brute-force reading of what was laid in gives.
"""

import json
import os
import subprocess
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import polars as pl

from benchmarks import volumes
from lift_insights import sandbox
from lift_insights.aws.session import local
from lift_insights.sources import logs as log_source
from lift_insights.sources import metrics as metric_source
from lift_insights.sources import xray

ROOT = Path(__file__).resolve().parent.parent
END = volumes.END
BAD_NETWORK = (
    sandbox.Fault(status=400, code="ThrottlingException", rate=0.1),
    sandbox.Fault(status=503, code="ServiceUnavailable", rate=0.02),
    sandbox.Fault(cut=True, rate=0.01),
)
CALLS = {"metrics": "^GetMetricData$", "logs": "^FilterLogEvents$", "traces": "^(BatchGetTraces|GetTraceSummaries)$"}
POINTS_A_PAGE, QUERIES_A_PAGE, EVENTS_A_PAGE, PAGE_BYTES = 100_800, 500, 10_000, 1 << 20


def run() -> list[dict]:
    rows = []
    for kind, make in (("metrics", metrics), ("logs", logs), ("traces", traces)):
        put, truth, shape = make()
        rows += exactness(kind, put, truth, shape)
    return [*rows, *plans(), *peers()]


def row(what: str, ours, unit: str, **more) -> dict:
    return {"benchmark": "sources", "what": what, "ours": ours, "unit": unit, "better": "lower"} | more


# --- what is put, and the truth about it


def metrics() -> tuple:
    frame = volumes.metrics(300, 7, 1)
    return volumes.telemetry(metrics=frame), volumes.datapoints(frame), volumes.as_datapoints


def logs() -> tuple:
    frame = volumes.logs(250_000, 24, 2)
    return volumes.telemetry(logs=frame), log_source.parse(frame.rename({"message": "text"})), lambda events: events


def traces() -> tuple:
    frame = volumes.traces(20_000, 24, 3)
    return volumes.telemetry(traces=frame), xray.parse(frame["document"].to_list()), lambda spans: spans


def exactness(kind: str, put, truth: pl.DataFrame, shape) -> list[dict]:
    what = {"metrics": "300 series x 7 days of minutes", "logs": "250,000 events", "traces": "20,000 traces"}[kind]
    unit = {"metrics": "datapoints", "logs": "events", "traces": "spans"}[kind]
    rows = []
    for faults, network in (((), "good network"), (BAD_NETWORK, "10 % throttled, 2 % 5xx, 1 % cut")):
        with (
            tempfile.TemporaryDirectory() as folder,
            sandbox.local(put, faults=faults, seed=7, cache=folder) as session,
        ):
            began = time.monotonic()
            found = shape(volumes.reading(kind, session))
            seconds, calls = time.monotonic() - began, made(kind, session)
            wrong = volumes.differing(found, truth)
            rows.append(row(f"{what}, {network}: wrong", wrong, unit, target=0, note=f"{seconds:.0f} s"))
            if faults:
                continue
            began = time.monotonic()
            wrong = volumes.differing(shape(volumes.reading(kind, session)), truth)
            again = made(kind, session) - calls
            rows.append(
                row(f"{what}, again on the cache: calls", again, "calls", target=0, peer=calls, peer_name="first run")
            )
            rows.append(
                row(
                    f"{what}, again on the cache: wrong",
                    wrong,
                    unit,
                    target=0,
                    note=f"{time.monotonic() - began:.0f} s",
                )
            )
            if kind != "traces":
                rows.append(
                    row(f"{what}: calls", calls, "calls", peer=least(kind, truth, put), peer_name="least there can be")
                )
    with tempfile.TemporaryDirectory() as folder, sandbox.local(put, faults=BAD_NETWORK, seed=8) as session:
        found, kept = volumes.killed_and_resumed(kind, session.endpoint_url, Path(folder), kill_after=5)
        wrong = volumes.differing(shape(found), truth)
        rows.append(row(f"{what}, killed after {kept} files and run again: wrong", wrong, unit, target=0))
    return rows


def made(kind: str, session) -> int:
    return session.ledger.frame().filter(pl.col("operation").str.contains(CALLS[kind])).height


def least(kind: str, truth: pl.DataFrame, put) -> int:
    """The fewest calls that could bring it."""
    if kind == "metrics":
        series = truth["service"].n_unique()
        return max(-(-series * 7 * 1440 // POINTS_A_PAGE), -(-series // QUERIES_A_PAGE))
    size = put.logs.group_by("log_group").agg(n=pl.len(), bytes=pl.col("message").str.len_bytes().sum() + 26 * pl.len())
    return sum(max(-(-n // EVENTS_A_PAGE), -(-b // PAGE_BYTES)) for _, n, b in size.iter_rows())


# --- plans of GetMetricData calls, without making them


def plans() -> list[dict]:
    """Calls planned against the least, over shapes of every kind."""
    worst, total, fewest = 0.0, 0, 0
    for series, minutes, period_s in SHAPES:
        query = {"Namespace": "n", "MetricName": "m"}
        asked = [
            {"Id": f"q{i}", "MetricStat": {"Metric": query, "Period": period_s, "Stat": "Sum"}} for i in range(series)
        ]
        calls = len(metric_source.plan(asked, END - timedelta(minutes=minutes), END))
        steps = minutes * 60 // period_s
        bound = max(-(-series * steps // POINTS_A_PAGE), -(-series // QUERIES_A_PAGE))
        worst, total, fewest = max(worst, calls / bound), total + calls, fewest + bound
    note = f"{len(SHAPES)} shapes; the worst {worst:.2f}"
    return [row("GetMetricData calls planned / least", total / fewest, "", target=1.05, note=note)]


SHAPES = [  # series, minutes, period_s
    (1, 60, 60), (1, 20_160, 60), (7, 10_081, 60), (25, 20_160, 60), (300, 10_080, 60), (300, 10_081, 60),
    (300, 43_201, 60), (999, 1_440, 60), (1000, 43_200, 60), (2_501, 201, 60), (5_000, 180, 60),
    (12_345, 20_160, 300), (333, 90_720, 300), (100, 655_200, 3600), (40, 180, 1), (3, 1_000, 5),
]  # fmt: skip


# --- speed beside others


def peers() -> list[dict]:
    put = logs()[0]
    with sandbox.local(put) as session:
        names = sorted(put.logs["log_group"].unique())
        client = local(session.endpoint_url, clock=session.now()).client("logs")  # one that our reader has not touched
        took, ours = timed(lambda: log_source.read(session, names, END - timedelta(hours=24), END))
        plain_s, plain = timed(lambda: plain_loop(client, names))
        found = [
            row(
                "250,000 log events read",
                took,
                "s",
                peer=plain_s,
                peer_name=f"plain boto3 loop, {len(plain):,} rows",
                note=f"{len(ours):,} rows",
            )
        ]
        other = wrangler(session.endpoint_url, names)
        if other is None:
            return [
                *found,
                row("250,000 log events read", took, "s", note="awswrangler is not there: make bench installs it"),
            ]
        note = f"{len(ours):,} rows"
        return [
            *found,
            row(
                "250,000 log events read",
                took,
                "s",
                peer=other["seconds"],
                peer_name=f"awswrangler, {other['rows']:,} rows",
                note=note,
            ),
        ]


def timed(function) -> tuple:
    took = []
    for _ in range(2):
        began = time.monotonic()
        result = function()
        took.append(time.monotonic() - began)
    return min(took), result


def plain_loop(client, names: list[str]) -> list[tuple]:
    """What somebody writes by hand: every event's time, stream and text."""
    rows = []
    for name in names:
        pages = client.get_paginator("filter_log_events").paginate(
            logGroupName=name,
            startTime=int((END - timedelta(hours=24)).timestamp() * 1000),
            endTime=int(END.timestamp() * 1000),
        )
        rows += [(e["timestamp"], e["logStreamName"], e["message"]) for page in pages for e in page["events"]]
    return rows


WRANGLER = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import awswrangler as wr
from datetime import datetime
start, end, *names = sys.argv[1:]
start, end = datetime.fromisoformat(start), datetime.fromisoformat(end)
took = []
for _ in range(2):
    began = time.monotonic()
    query = "fields @timestamp, @logStream, @message"
    frame = wr.cloudwatch.read_logs(query, log_group_names=names, start_time=start, end_time=end, limit=100_000)
    took.append(time.monotonic() - began)
print(json.dumps({"seconds": min(took), "rows": len(frame)}))
"""


def wrangler(url: str, names: list[str]) -> dict | None:
    """awswrangler's read_logs on the same local AWS, in an environment of its own; it stops at one query's limit."""
    python = ROOT / ".venv-peers" / "bin" / "python"
    if not python.exists():
        return None
    window = [(END - timedelta(hours=24)).isoformat(), END.isoformat()]
    names_of = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    around = {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1", "PATH": os.environ["PATH"]} | dict.fromkeys(
        names_of, "testing"
    )
    done = subprocess.run(
        [python, "-c", WRANGLER, *window, *names], check=True, capture_output=True, text=True, env=around
    )
    return json.loads(done.stdout.splitlines()[-1])
