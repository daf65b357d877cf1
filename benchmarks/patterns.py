"""Log templates: grouping accuracy on Loghub's 2,000 lines of each system, one configuration, beside Drain.

A message counts where its predicted group is exactly the set of messages of its true template (Zhu et al., "Tools and
Benchmarks for Automated Log Parsing", ICSE 2019). Their Drain is tuned to each system; ours and drain3 run as they
come. The eight systems were looked at while the masks were written; systems kept apart have to say how much that helps.
"""

import json
import subprocess
import time
from collections import Counter
from pathlib import Path

import polars as pl

from benchmarks.nab import HERE, folder

PUBLISHED = {  # Drain, the table of logpai/logparser, logparser/Drain/README.md (the paper's table II, rounded less)
    "Android": 0.911, "BGL": 0.9625, "HPC": 0.887, "HealthApp": 0.78, "Mac": 0.7865, "OpenStack": 0.7325,
    "Spark": 0.92, "Windows": 0.997,
}  # fmt: skip
REPEAT = 10  # times that the lines are read to measure speed
DRAIN3 = r"""
import json, sys, time
from drain3 import TemplateMiner
from drain3.masking import MaskingInstruction
from drain3.template_miner_config import TemplateMinerConfig
masked = TemplateMinerConfig()  # like those of drain3's example configuration
edge = r"((?<=[^A-Za-z0-9])|^)", r"((?=[^A-Za-z0-9])|$)"
masked.masking_instructions = [MaskingInstruction(*one) for one in [
    (edge[0] + r"(([0-9a-f]{2,}:){3,}([0-9a-f]{2,}))" + edge[1], "ID"),
    (edge[0] + r"(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})" + edge[1], "IP"),
    (edge[0] + r"([0-9a-f]{6,} ?){3,}" + edge[1], "SEQ"),
    (edge[0] + r"([0-9A-F]{4} ?){4,}" + edge[1], "SEQ"),
    (edge[0] + r"(0x[a-f0-9A-F]+)" + edge[1], "HEX"),
    (edge[0] + r"([\-\+]?\d+)" + edge[1], "NUM"),
    (r"(?<=executed cmd )(\".+?\")", "CMD"),
]]
systems = json.load(sys.stdin)
for name, config in (("plain", TemplateMinerConfig()), ("masked", masked)):
    told, spent = {}, 0.0
    for _ in range(int(sys.argv[1])):
        for system, lines in systems.items():
            miner, begun = TemplateMiner(config=config), time.monotonic()
            told[system] = [miner.add_log_message(line)["cluster_id"] for line in lines]
            spent += time.monotonic() - begun
    print(json.dumps({"ids": told, "seconds": spent}))
"""


def load(root: Path) -> dict[str, pl.DataFrame]:
    """Message and true template's id of each system."""
    files = sorted(root.glob("*/*_2k.log_structured.csv"))
    frames = {f.parent.name: pl.read_csv(f, infer_schema_length=0) for f in files}
    return {name: one.select(pl.col("Content").fill_null(""), "EventId") for name, one in frames.items()}


def grouping_accuracy(predicted: list, true: list) -> float:
    """Share of the messages whose predicted group holds exactly the messages of their true group."""
    ours, theirs, both = Counter(predicted), Counter(true), Counter(zip(predicted, true, strict=True))
    return sum(n for (a, b), n in both.items() if ours[a] == n == theirs[b]) / len(true)


def drain3(systems: dict[str, pl.DataFrame]) -> list[dict]:
    """Ids that drain3 gives without and with masks, and its seconds; nothing where it is not installed."""
    python = HERE / ".venv-peers" / "bin" / "python"
    if not python.exists():
        return []
    said = json.dumps({name: one["Content"].to_list() for name, one in systems.items()})
    done = subprocess.run(
        [str(python), "-c", DRAIN3, str(REPEAT)], input=said, capture_output=True, text=True, timeout=600, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def accuracies(systems: dict[str, pl.DataFrame], ids: dict[str, list]) -> dict[str, float]:
    """Grouping accuracy of each system, and their mean."""
    each = {name: grouping_accuracy(ids[name], one["EventId"].to_list()) for name, one in systems.items()}
    return each | {"mean": sum(each.values()) / len(each)}


def ours(systems: dict[str, pl.DataFrame]) -> dict:
    """Ids that `mine` gives, and its seconds for reading all files REPEAT times."""
    from lift_insights.models import patterns

    begun = time.monotonic()
    for _ in range(REPEAT):
        ids = {name: patterns.mine(one["Content"])[1].to_list() for name, one in systems.items()}
    return {"ids": ids, "seconds": time.monotonic() - begun}


def run() -> list[dict]:
    root = folder() / "loghub"
    if not root.is_dir():
        return [row(f"skipped: no data at {root}")]
    systems = load(root)
    mine, peers = ours(systems), drain3(systems)
    got, theirs = (accuracies(systems, one["ids"]) for one in (mine, peers[-1] if peers else mine))
    peer = "drain3 with masks like its example's" if peers else ""
    rows = [row(f"grouping accuracy, {n}", got[n], theirs[n] if peers else None, peer) for n in systems]
    known = [PUBLISHED[n] for n in systems if n in PUBLISHED]
    published = sum(known) / len(known) if known else None
    rows.append(row("grouping accuracy, mean", got["mean"], published, "Drain, published, tuned by system", 0.90))
    lines = REPEAT * sum(map(len, systems.values()))
    for other, name in zip(peers, ("drain3 without masks", peer)):
        rows.append(row("… mean", got["mean"], accuracies(systems, other["ids"])["mean"], name))
        rows.append(row("… lines a second", lines / mine["seconds"], lines / other["seconds"], name, unit="1/s"))
    return rows


def row(what, ours=None, peer=None, peer_name="", target=None, unit=""):
    return {
        "benchmark": "patterns", "what": what, "ours": ours, "peer": peer, "peer_name": peer_name, "target": target,
        "unit": unit, "better": "higher",
    }  # fmt: skip
