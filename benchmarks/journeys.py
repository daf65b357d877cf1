"""Nezha's spans into trees, edges, journeys and critical paths: seconds, memory, growth, and the map that comes out.

Each size is a process of its own, so that memory is its own. Larger sizes are the same spans with other trace ids.
"""

import json
import os
import subprocess
import sys

from benchmarks.causes_spans import folder

SIZES = (100_000, 852_420, 2_500_000, 5_000_000)
KNOWN = {  # who calls whom in OnlineBoutique, by the picture in its README (GoogleCloudPlatform/microservices-demo)
    "frontend": {"ad", "cart", "checkout", "currency", "productcatalog", "recommendation", "shipping"},
    "checkout": {"cart", "currency", "email", "payment", "productcatalog", "shipping"},
    "recommendation": {"productcatalog"},
}
CODE = r"""
import json, resource, sys, time
import polars as pl
from benchmarks.causes_spans import folder, spans_of
from lift_insights.journeys import map as maps, paths, tree
size, spans = int(sys.argv[1]), spans_of(folder() / "spans.parquet")
copies = -(-size // len(spans))
again = [spans.with_columns(pl.col("trace_id") + f"-{i}") for i in range(copies)] if copies > 1 else [spans]
spans = pl.concat(again).head(size)
before, told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, {}
steps = {"trees": tree.tree, "edges": maps.edges, "journeys": paths.journeys, "critical paths": paths.critical_path}
for name, step in steps.items():
    begun = time.monotonic()
    found = step(spans)
    told[name] = time.monotonic() - begun
    if name == "edges":
        pairs = found.select("client", "server").drop_nulls().rows()
told |= {"spans": len(spans), "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "pairs": pairs}
print(json.dumps(told))
"""


def measured(size: int) -> dict:
    """Seconds of each step, peak memory in GB, and pairs of services, from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(size)], capture_output=True, text=True, check=True, env=os.environ
    )
    return json.loads(done.stdout)


def run() -> list[dict]:
    """Rows for the table of `make bench`."""
    if not folder().is_dir():
        return [row(f"skipped: no data at {folder()}")]
    rows, steps = [], ("trees", "edges", "journeys", "critical paths")
    for size in SIZES:
        told = measured(size)
        seconds, day = sum(told[step] for step in steps), size == SIZES[1]
        what = f"{told['spans']:,} spans into {', '.join(steps)}"
        rows.append(row(what, seconds, 10.0 if day else None))
        rows.append(row("… microseconds a span", 1e6 * seconds / told["spans"], unit="µs"))
        rows.append(row("… peak memory, spans included", told["gb"], 2.0 if day else None, "GB"))
        if day:
            found = {
                (a.removesuffix("service"), b.removesuffix("service"))
                for a, b in told["pairs"]
                if a not in (b, "client")
            }
            known = {(a, b) for a, called in KNOWN.items() for b in called}
            rows.append(row("… calls that OnlineBoutique has and the map lacks", len(known - found), 0, "edges"))
            rows.append(row("… calls of the map that OnlineBoutique has not", len(found - known), 0, "edges"))
    return rows


def row(what, ours=None, target=None, unit="s"):
    """One row of the table; less is better."""
    return {
        "benchmark": "journeys", "what": what, "ours": ours, "target": target, "unit": unit, "better": "lower",
    }  # fmt: skip
