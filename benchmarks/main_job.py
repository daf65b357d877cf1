"""The main job, timed: `lift-insights demo` from start to end, and `import lift_insights`."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run() -> list[dict]:
    with tempfile.TemporaryDirectory() as out:
        began = time.monotonic()
        code = "import sys; from lift_insights.cli import main; sys.exit(main(sys.argv[1:]))"
        subprocess.run(
            [sys.executable, "-c", code, "demo", "--out", out],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seconds = time.monotonic() - began
        megabytes = (Path(out) / "report.html").stat().st_size / 1e6
    return [
        {
            "benchmark": "main job",
            "what": "lift-insights demo",
            "ours": seconds,
            "target": 60,
            "unit": "s",
            "better": "lower",
        },
        {
            "benchmark": "main job",
            "what": "report.html",
            "ours": megabytes,
            "target": 8,
            "unit": "MB",
            "better": "lower",
        },
        {
            "benchmark": "main job",
            "what": "import lift_insights",
            "ours": import_s("lift_insights"),
            "peer": import_s("pandas"),
            "peer_name": "import pandas",
            "target": 0.25,
            "unit": "s",
            "better": "lower",
        },
    ]


def import_s(module: str) -> float:
    """Seconds of the fastest of three imports, each in a fresh interpreter."""
    took = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", f"import {module}"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        took.append(int(re.search(r"\|\s+(\d+) \|\s+" + module + r"$", done.stderr, re.MULTILINE)[1]) / 1e6)
    return min(took)
