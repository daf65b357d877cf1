"""Nezha's OnlineBoutique: which service caused a fault, from its traces; and silence where there is none.

`python -m benchmarks.causes_spans` prints the answer for every fault. Of the 24 faults 20 have spans. What is normal is
taken in three ways, since nobody knows beforehand what a user has at hand: the fault-free spans of the next day, the
quiet minutes before the other faults, and the minutes before the fault itself where these hold a hundred traces.
"""

import itertools
import json
import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from lift_insights.frames import SPANS

HERE = Path(__file__).resolve().parents[1]
BEFORE, AFTER = timedelta(minutes=3), timedelta(minutes=4)  # the minutes taken around a fault
ENOUGH = 100  # traces in the minutes before a fault, to be compared with
EARLY = "07:10"  # this fault shows a minute before its time, so the minutes before it are not quiet
CONSTANTS = ("_TIMES", "_PART", "_SHARE", "_LEVEL")


def folder() -> Path:
    """Where the data lies: LIFT_INSIGHTS_BENCH_DATA, or ../shared/data beside the checkout."""
    return Path(os.environ.get("LIFT_INSIGHTS_BENCH_DATA") or HERE.parent / "shared" / "data") / "nezha"


def service_of(pod: str) -> pl.Expr:
    """The service of a pod: its name without the ids of its replica set and itself."""
    return pl.col(pod).str.replace(r"-[0-9a-f]+-[0-9a-z]+$", "")


def spans_of(path: Path) -> pl.DataFrame:
    """Nezha's spans as the frame `spans`. They have neither kinds nor flags."""
    unknown = {"kind": pl.String, "status": pl.Int64, "attributes": pl.String}
    return (
        pl.read_parquet(path)
        .select(
            trace_id="TraceID",
            span_id="SpanID",
            parent_id=pl.when(pl.col("ParentID") != "root").then("ParentID"),
            service=service_of("PodName"),
            operation="OperationName",
            start=pl.from_epoch(pl.col("StartTimeUnixNano") // 1000, time_unit="us").dt.replace_time_zone("UTC"),
            duration_ms=(pl.col("EndTimeUnixNano") - pl.col("StartTimeUnixNano")) / 1e6,
            **{flag: pl.lit(False) for flag in ("error", "fault", "throttle")},
            **{name: pl.lit(None, kind) for name, kind in unknown.items()},
        )
        .select(*SPANS.columns)
    )


def metrics_of(path: Path) -> pl.DataFrame:
    """Nezha's metrics of pods: service, metric, timestamp, value. Their column `TimeStamp` is wrong in places."""
    raw = pl.read_parquet(path).with_columns(
        service=service_of("PodName"),
        timestamp=pl.col("Time").str.head(19).str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", time_zone="UTC"),
    )
    values = [c for c, kind in raw.schema.items() if kind == pl.Float64 and not c.startswith("Node")]
    return raw.unpivot(values, index=["service", "timestamp"], variable_name="metric").drop_nulls()


def faults_of(path: Path) -> list[tuple[datetime, str, str]]:
    """Time, service and kind of every fault."""
    return [
        (
            datetime.fromisoformat(one["inject_time"]).replace(tzinfo=UTC),
            one["inject_pod"].rsplit("-", 2)[0],
            one["inject_type"],
        )
        for one in json.loads(path.read_text())
    ]


class Nezha:
    """The data, cut into the minutes of faults and quiet minutes."""

    def __init__(self, root: Path):
        self.day, self.quiet_day = spans_of(root / "spans.parquet"), spans_of(root / "spans_faultfree.parquet")
        self.metrics = metrics_of(root / "pod_metrics.parquet")
        self.faults = [f for f in faults_of(root / "faults.json") if len(self.between(f[0], f[0] + AFTER))]
        before = {t: self.between(t - BEFORE, t - timedelta(seconds=5)) for t, _, _ in self.faults}
        self.before = {t: one for t, one in before.items() if one["trace_id"].n_unique() >= ENOUGH}
        self.quiet = {t: one for t, one in self.before.items() if f"{t:%H:%M}" != EARLY}

    def between(self, start: datetime, end: datetime) -> pl.DataFrame:
        return self.day.filter(pl.col("start").is_between(start, end, closed="left"))

    def normals(self) -> dict[str, Callable]:
        """By name, what gives the normal spans for a fault's time (None: there are too few)."""
        return {
            "the next day": lambda t: self.quiet_day,
            "quiet minutes before other faults": lambda t: pl.concat([q for u, q in self.quiet.items() if u != t]),
            "the minutes before": lambda t: self.before.get(t),
        }


def answers(nezha: Nezha, normal: Callable, metrics=None) -> list[dict]:
    """One row a fault: time, service, kind, and the answer."""
    from lift_insights.journeys.causes_spans import from_spans

    rows = []
    for at, service, kind in nezha.faults:
        usual = normal(at)
        if usual is not None:
            found = from_spans(usual, nezha.between(at, at + AFTER), metrics)
            best = found.row(0, named=True) if len(found) else dict.fromkeys(found.columns)
            place = found["service"].to_list().index(service) + 1 if service in found["service"] else None
            rows.append({"at": at, "fault": f"{service} {kind}", "right": place == 1, "rank": place, **best})
    return rows


def silent(quiet: list[pl.DataFrame], to: list[pl.DataFrame]) -> list[bool]:
    """Whether nothing is said, of every quiet stretch against every other."""
    from lift_insights.journeys.causes_spans import from_spans

    return [from_spans(a, b).is_empty() for a, b in itertools.product(quiet, to) if a is not b]


@contextmanager
def changed(name: str, factor: float):
    """One of the constants of `journeys.span_changes`, multiplied."""
    from lift_insights.journeys import span_changes

    usual = getattr(span_changes, name)
    setattr(span_changes, name, usual * factor)
    try:
        yield
    finally:
        setattr(span_changes, name, usual)


def run() -> list[dict]:
    """Rows for the table of `make bench`."""
    if not folder().is_dir():
        return [row(f"skipped: no data at {folder()}")]
    nezha, rows = Nezha(folder()), []
    for name, normal in nezha.normals().items():
        told = answers(nezha, normal)
        rate = sum(one["right"] for one in told) / len(told)
        rows.append(row(f"top-1 of {len(told)} faults, normal: {name}", rate, 0.93, "Nezha, with logs", 0.85))
    told = answers(nezha, nezha.normals()["the next day"], nezha.metrics)
    rows.append(row("… the next day, with metrics of pods", sum(one["right"] for one in told) / len(told), target=0.85))
    quiet = [*nezha.quiet.values(), nezha.quiet_day]
    said = silent(quiet, quiet)
    rows.append(row(f"silence, {len(said)} pairs of quiet stretches", sum(said) / len(said), target=0.9))
    for name, factor in itertools.product(CONSTANTS, (0.5, 2.0)):
        with changed(name, factor):
            told = answers(nezha, nezha.normals()["the next day"])
            said = silent(quiet[:-1], quiet[-1:]) + silent(quiet[-1:], quiet[:-1])
        what = f"with {name} × {factor}"
        rows.append(row(f"{what}: top-1, normal: the next day", sum(one["right"] for one in told) / len(told)))
        rows.append(row(f"{what}: silence, {len(said)} pairs with the next day", sum(said) / len(said)))
    return [*rows, speed(nezha)]


def speed(nezha: Nezha) -> dict:
    """How long all spans of the day take, against those of the next."""
    from lift_insights.journeys.causes_spans import from_spans

    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        from_spans(nezha.quiet_day, nezha.day)
        seconds.append(time.perf_counter() - begun)
    return row(f"{len(nezha.day):,} spans", sorted(seconds)[1], target=10.0, unit="s", better="lower")


def row(what, ours=None, peer=None, peer_name="", target=None, unit="share", better="higher"):
    """One row of the table."""
    return {
        "benchmark": "causes_spans", "what": what, "ours": ours, "peer": peer, "peer_name": peer_name, "target": target,
        "unit": unit, "better": better,
    }  # fmt: skip


if __name__ == "__main__":
    data = Nezha(folder())
    for title, usual in data.normals().items():
        print(title)
        for one in answers(data, usual):
            said = f"{one['service']} {one['score']:.2f}, {one['kind']} at {one['where']}" if one["service"] else "–"
            print(f"  {one['at']:%H:%M} {one['fault']:42} {'right' if one['right'] else 'WRONG':6} {said}")
