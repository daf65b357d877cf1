"""Telemetry in volume, made from a seed: what the exactness of reading is measured on, also in tests/test_exact.py.

Not a benchmark itself. Each function gives the frame that the local AWS lays in; the brute-force readings beside them
use nothing of the package's sources.
"""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import polars as pl

END = datetime(2026, 3, 16, tzinfo=UTC)  # midnight; what the local AWS takes for now lies `LATER` behind it
LATER = timedelta(hours=12)
NAMESPACE = "Volume"
STATS = ("Sum", "Minimum", "SampleCount")
TIME = pl.Datetime("us", "UTC")
NOTHING = {
    "metrics": {
        "namespace": pl.String,
        "metric": pl.String,
        "dimensions": pl.List(pl.Struct({"name": pl.String, "value": pl.String})),
        "unit": pl.String,
        "timestamp": TIME,
        "values": pl.List(pl.Float64),
        "counts": pl.List(pl.Int64),
    },
    "logs": {"log_group": pl.String, "log_stream": pl.String, "timestamp": TIME, "message": pl.String},
    "traces": {"trace_id": pl.String, "document": pl.String},
}


def telemetry(**frames: pl.DataFrame):
    """What `sandbox.local` lays in: the frames that are given, and empty ones for the rest."""
    return SimpleNamespace(
        **{name: frames.get(name, pl.DataFrame(schema=s)) for name, s in NOTHING.items()}, end=END + LATER
    )


# --- metrics


def metrics(series: int, days: int, seed: int) -> pl.DataFrame:
    """One to three values a minute of each metric; every metric lacks some minutes, and has two outages.

    Values are multiples of 1/8, so that sums are exact in whatever order they are taken.
    """
    rng, minutes = np.random.default_rng(seed), days * 1440
    there = rng.random((series, minutes)) > 0.03
    for n in range(series):
        for at in rng.integers(0, minutes, 2):
            there[n, at : at + rng.integers(5, 300)] = False
    n, at = np.nonzero(there)
    many = rng.integers(1, 4, len(n))
    flat = pl.DataFrame(
        {"row": np.repeat(np.arange(len(n)), many), "values": np.round(rng.gamma(2.0, 400.0, many.sum())) / 8}
    )
    values = flat.group_by("row", maintain_order=True).agg("values")["values"]
    service = pl.format("s{}", pl.col("n"))
    return pl.DataFrame({"n": n, "at": at, "values": values}).select(
        namespace=pl.lit(NAMESPACE),
        metric=pl.format("m{}", pl.col("n") % 7),
        dimensions=pl.concat_list(pl.struct(name=pl.lit("service"), value=service)),
        unit=pl.lit("Count"),
        timestamp=(pl.lit(END - timedelta(days=days)) + pl.duration(minutes=pl.col("at"))).cast(TIME),
        values="values",
        counts=pl.col("values").list.eval(pl.element() * 0 + 1).cast(pl.List(pl.Int64)),
    )


def datapoints(frame: pl.DataFrame, period_s: int = 60) -> pl.DataFrame:
    """Every datapoint of `STATS[n % 3]` of metric n, by brute force: service, timestamp, value."""
    rows = frame.select(pl.col("dimensions").list.first().struct.field("value").alias("service"), "timestamp", "values")
    rows = rows.explode("values").with_columns(pl.col("timestamp").dt.truncate(f"{period_s}s"))
    found = rows.group_by("service", "timestamp").agg(
        Sum=pl.col("values").sum(), Minimum=pl.col("values").min(), SampleCount=pl.len().cast(pl.Float64)
    )
    return (
        found.with_columns(value=chosen(pl.col("service")))
        .select("service", "timestamp", "value")
        .sort("service", "timestamp")
    )


def chosen(service: pl.Expr) -> pl.Expr:
    """The statistic that is asked of a service's metric."""
    which = service.str.slice(1).cast(pl.Int64) % len(STATS)
    return pl.when(which == 0).then("Sum").when(which == 1).then("Minimum").otherwise("SampleCount")


def stat_of(service: str) -> str:
    return STATS[int(service[1:]) % len(STATS)]


# --- logs


def logs(events: int, hours: int, seed: int, groups: int = 2) -> pl.DataFrame:
    """Lift's JSON records, Lambda's REPORT lines, plain text; many events share their millisecond."""
    rng = np.random.default_rng(seed)
    span_ms = hours * 3_600_000
    quiet, busy = rng.integers(0, span_ms, events // 2), rng.normal(span_ms * 0.7, span_ms * 0.02, events - events // 2)
    ms = np.sort(np.concatenate([quiet, busy.clip(0, span_ms - 1).astype(np.int64)]))
    kind, took = rng.integers(0, 4, events), rng.gamma(2.0, 20.0, events)
    return pl.DataFrame({"n": np.arange(events), "ms": ms, "kind": kind, "took": np.round(took, 2)}).select(
        log_group=pl.format("/aws/lambda/volume-{}", pl.col("n") % groups),
        log_stream=pl.format("2026/03/15/[$LATEST]{}", pl.col("n") % 11),
        timestamp=(pl.lit(END - timedelta(hours=hours)) + pl.duration(milliseconds=pl.col("ms"))).cast(TIME),
        message=pl.when(pl.col("kind") == 0)
        .then(pl.format(REPORT, "n", "took"))
        .when(pl.col("kind") == 1)
        .then(pl.format("plain text, number {}", "n"))
        .otherwise(pl.concat_str(pl.lit(RECORD[0]), "n", pl.lit(RECORD[1]), "took", pl.lit(RECORD[2]))),
    )


REPORT = "\t".join(
    (
        "REPORT RequestId: r{}",
        "Duration: {} ms",
        "Billed Duration: 9 ms",
        "Memory Size: 128 MB",
        "Max Memory Used: 64 MB",
    )
)
RECORD = (
    '{"level":"INFO","message":"Request completed","request_id":"r',
    '","trace_id":"1-5f84c7a1-e7d1852db8c4fd35d88bf49a","fields":{"duration":"',
    'ms","status":200}}',
)


# --- traces


def traces(count: int, hours: int, seed: int) -> pl.DataFrame:
    """Traces of an API, a function behind it and a table: three documents, five spans, one in ten with an error."""
    rng = np.random.default_rng(seed)
    first = (END - timedelta(hours=hours)).timestamp()
    starts = np.round(np.sort(rng.uniform(first, END.timestamp(), count)), 3)
    took = np.round(rng.gamma(2.0, 0.05, (count, 3)), 4)
    ids = rng.integers(0, 1 << 62, (count, 7), dtype=np.int64)
    rows = []
    for n in range(count):
        trace = f"1-{int(starts[n]):08x}-{ids[n, 0]:024x}"
        rows += [
            (trace, orjson.dumps(document).decode())
            for document in documents(trace, float(starts[n]), took[n], ids[n], n)
        ]
    return pl.DataFrame(rows, schema=NOTHING["traces"], orient="row")


def documents(trace: str, start: float, took, ids, n: int) -> list[dict]:
    a, b, c, d, e, f = (f"{i:016x}" for i in ids[1:].tolist())
    front, work, table = (float(t) for t in took)
    status = 500 if n % 10 == 0 else 200
    http = {"request": {"method": "POST", "url": f"https://api.volume.example/{n % 5}"}, "response": {"status": status}}
    asked = {"operation": "GetItem", "table_name": f"t{n % 3}"}
    inner = {"id": d, "name": "DynamoDB", "namespace": "aws", "start_time": start + 0.002, "aws": asked}
    inner["end_time"] = start + 0.002 + table
    call = {
        "id": b,
        "name": "worker",
        "namespace": "remote",
        "start_time": start + 0.001,
        "end_time": start + 0.001 + work,
    }
    base = {"trace_id": trace, "start_time": start}
    failed = (
        {"fault": True, "cause": {"exceptions": [{"id": e, "type": "Timeout", "message": "é too late"}]}}
        if n % 10 == 0
        else {}
    )
    return [
        {
            **base,
            "name": "front",
            "id": a,
            "end_time": start + front + work,
            "http": http,
            "subsegments": [call],
            **failed,
        },
        {
            **base,
            "name": "worker",
            "id": c,
            "parent_id": b,
            "end_time": start + work,
            "annotations": {"tenant_id": f"t{n % 9}"},
            "subsegments": [inner],
        },
        {
            **base,
            "name": "DynamoDB",
            "id": f,
            "parent_id": d,
            "end_time": start + table,
            "origin": "AWS::DynamoDB::Table",
            "inferred": True,
        },
    ]


# --- reading it back, in a process that may be killed


def reading(kind: str, session) -> pl.DataFrame:
    """Everything of one kind, through the package."""
    from lift_insights.sources import logs as log_source
    from lift_insights.sources import metrics as metric_source
    from lift_insights.sources import traces as trace_source

    if kind == "metrics":
        start = END - timedelta(days=7)
        return metric_source.read(session, catalog(session), start, END, period_s=60)
    if kind == "logs":
        groups = sorted(log_source.groups(session)["log_group"])
        return log_source.read(session, groups, END - timedelta(hours=24), END)
    return trace_source.read(session, END - timedelta(hours=24), END)


def catalog(session) -> pl.DataFrame:
    """The metrics, each with the statistic that `datapoints` works out."""
    from lift_insights.frames import series_key
    from lift_insights.sources import metrics as metric_source

    rows = []
    for row in metric_source.find(session, NAMESPACE).iter_rows(named=True):
        service = row["dimensions"][0]["value"]
        stat = stat_of(service)
        rows.append(row | {"stat": stat, "series": series_key(NAMESPACE, row["metric"], {"service": service}, stat)})
    return pl.DataFrame(rows, schema=metric_source.CATALOG.columns)


def read_in_child(kind: str, url: str, cache: str, out: str) -> None:
    """What the child process does: read all on this cache, write the frame."""
    from lift_insights.aws.session import local

    session = local(url, clock=END + LATER, cache=cache)
    reading(kind, session).write_parquet(out)


def killed_and_resumed(kind: str, url: str, folder: Path, kill_after: int) -> tuple[pl.DataFrame, int]:
    """A child is killed once it has kept so many files; a second one reads to the end. Frame and files by then."""
    arguments = ", ".join(map(repr, (kind, url, str(folder), str(folder / "out"))))
    code = f"from benchmarks.volumes import read_in_child; read_in_child({arguments})"
    root = Path(__file__).resolve().parent.parent
    first = subprocess.Popen([sys.executable, "-c", code], cwd=root)
    while first.poll() is None and len(list(folder.rglob("*.parquet"))) < kill_after:
        time.sleep(0.02)
    first.kill()
    first.wait()
    kept = len(list(folder.rglob("*.parquet")))
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
    return pl.read_parquet(folder / "out"), kept


def differing(ours: pl.DataFrame, truth: pl.DataFrame) -> int:
    """Rows that only one of the two has, counted with their repetitions."""
    columns = truth.columns
    a, b = (f.select(columns).group_by(columns).agg(n=pl.len()) for f in (ours, truth))
    both = a.join(b, on=columns, how="full", nulls_equal=True, suffix="_truth")
    return int(
        both.select((pl.col("n").fill_null(0).cast(pl.Int64) - pl.col("n_truth").fill_null(0)).abs().sum()).item()
    )


def as_datapoints(points: pl.DataFrame) -> pl.DataFrame:
    """Points by service, as `datapoints` has them."""
    service = pl.col("series").str.extract(r"service=(s\d+)")
    return points.select(service.alias("service"), "timestamp", "value")
