"""X-Ray documents into spans, beside a plain loop over orjson that keeps eight fields and no order.

The documents are the samples, many times over, each time with other ids. Memory is measured in a process of its own:
how far its peak goes beyond what it holds once the documents are there, for each byte of the frame that comes out.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import orjson
import polars as pl

from lift_insights import simulate
from lift_insights.sources import xray

ROOT = Path(__file__).resolve().parent.parent
TIMES = 19  # the samples hold 27,000 spans
ID = re.compile(r"(?<=[\"-])[0-9a-f]{2}(?=[0-9a-f]{14}\"|[0-9a-f]{22}\")")


def run() -> list[dict]:
    texts = documents()
    ours, spans = best(lambda: xray.parse(texts))
    peer, rows = best(lambda: plain(texts))
    one_by_one, slow = best(lambda: xray._slowly(texts[: len(texts) // TIMES], range(len(texts) // TIMES))[0], 1)
    assert len(rows) == len(spans) == len(slow) * TIMES
    about = {"benchmark": "traces", "unit": "spans/s", "better": "higher"}
    beside = {"peer": len(rows) / peer, "peer_name": "plain orjson loop"}
    what = f"{len(spans):,} spans decoded, two cores"
    return [
        about | {"what": what, "ours": len(spans) / ours, "target": 500_000} | beside,
        about
        | {"what": "the same, of what the orjson loop does", "ours": peer / ours, "unit": "times", "note": "no target"},
        about | {"what": "read one by one, without moulds", "ours": len(slow) / one_by_one, "note": "no target"},
        memory(),
    ]


def documents() -> list[str]:
    """The samples, again and again: the first digits of every id say which time it is."""
    samples = simulate.load(ROOT / "data_samples").traces["document"].to_list()
    return [fresh(text, i) for i in range(TIMES) for text in samples]


def fresh(text: str, i: int) -> str:
    """The same document with other ids (in lower case: those in upper case are requests, and stay)."""
    return ID.sub(f"{i:02x}", text) if i else text


def best(function, times: int = 3) -> tuple:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        result = function()
        took.append(time.perf_counter() - began)
    return min(took), result


def memory() -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.traces"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    said = json.loads(done.stdout)
    note = f"peak {said['grown'] / 1e6:.0f} MB, frame {said['frame'] / 1e6:.0f} MB"
    row = {"benchmark": "traces", "what": "peak memory beyond the documents", "ours": said["grown"] / said["frame"]}
    return row | {"target": 3, "unit": "frames", "better": "lower", "note": note}


def measured() -> dict:
    texts = documents()
    xray.parse(texts[:2000])  # what is loaded on first use is not what is measured
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here (Linux)
    held = kilobytes("VmRSS")
    spans = xray.parse(texts)
    return {"grown": (kilobytes("VmHWM") - held) * 1024, "frame": spans.estimated_size()}


def kilobytes(what: str) -> int:
    return int(re.search(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


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


if __name__ == "__main__":
    print(json.dumps(measured()))
