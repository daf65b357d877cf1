"""One table of every figure this package claims: `make bench`, or `python -m benchmarks NAME …` for some of them.

A benchmark is a module here with `run() -> list[dict]`; a row has benchmark, what, ours, peer, peer_name, target, unit,
better ("higher", "lower", "equal", to a tenth, or "third", to a third of it) and note. Speed stands beside a peer
measured in the same run wherever there is one, since machines differ.
"""

import importlib
import pkgutil
import sys
import time
import traceback

import benchmarks

COLUMNS = ("benchmark", "what", "ours", "peer", "target", "unit", "")


def shown(number) -> str:
    return "–" if number is None else f"{number:.3g}" if isinstance(number, float) else str(number)


def verdict(row: dict) -> str:
    if row.get("target") is None or row.get("ours") is None:
        return row.get("note", "")
    ours, target, better = row["ours"], row["target"], row.get("better", "higher")
    if better in ("equal", "third"):
        met = abs(ours - target) <= (0.05 if better == "equal" else target / 3)
    else:
        met = ours >= target if better == "higher" else ours <= target
    return "met" if met else "not met"


def line(row: dict) -> tuple[str, ...]:
    peer = shown(row.get("peer")) + (f" ({row['peer_name']})" if row.get("peer_name") else "")
    return (
        row["benchmark"],
        row["what"],
        shown(row.get("ours")),
        peer,
        shown(row.get("target")),
        row.get("unit", ""),
        verdict(row),
    )


def main(names: list[str]) -> int:
    known = [
        m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in ("__main__", "volumes", "peers")
    ]
    rows, failed = [], []
    for name in names or known:
        began = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(f"benchmarks.{name}").run()
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    lines = [COLUMNS, *(line(row) for row in rows)]
    widths = [max(len(cells[i]) for cells in lines) for i in range(len(COLUMNS))]
    for cells in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
