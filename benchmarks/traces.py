"""X-Ray documents into spans, beside a plain loop over orjson that keeps eight fields and no order."""

import time
from pathlib import Path

import orjson
import polars as pl

from lift_insights import simulate
from lift_insights.sources import xray

ROOT = Path(__file__).resolve().parent.parent


def run() -> list[dict]:
    documents = simulate.load(ROOT / "data_samples").traces["document"].to_list()
    ours, spans = best(lambda: xray.parse(documents))
    peer, rows = best(lambda: plain(documents))
    assert len(rows) == len(spans)
    what = "X-Ray documents decoded, one core"
    speed, plain_speed = len(spans) / ours, len(rows) / peer
    about = {"peer_name": "plain orjson loop", "target": 500_000, "unit": "spans/s", "better": "higher"}
    return [{"benchmark": "traces", "what": what, "ours": speed, "peer": plain_speed, **about}]


def best(function) -> tuple:
    took = []
    for _ in range(3):
        began = time.perf_counter()
        result = function()
        took.append(time.perf_counter() - began)
    return min(took), result


def plain(documents: list[str]) -> pl.DataFrame:
    rows = []

    def walk(span, trace_id, service):
        end = span.get("end_time")
        taken = None if end is None else (end - span["start_time"]) * 1000
        failed = span.get("error", False), span.get("fault", False)
        rows.append((trace_id, span["id"], span.get("parent_id"), service, span["start_time"], taken, *failed))
        for child in span.get("subsegments", ()):
            walk(child, trace_id, service)

    for text in documents:
        segment = orjson.loads(text)
        walk(segment, segment["trace_id"], segment["name"])
    names = ["trace_id", "span_id", "parent_id", "service", "start", "duration_ms", "error", "fault"]
    return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)
