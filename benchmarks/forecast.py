"""Forecasts one day ahead on the NAB series, from three cut-offs, beside seasonal naive, statsforecast and Prophet; the
speed on a thousand series; intervals on simulated telemetry and on hours of pod metrics; and dates of `time_to` on
series whose future is known.

A handful of days, those on which something broke, decides the mean, so other cut-offs are shown as well. statsforecast
runs in `.venv-peers` (see peers.txt), Prophet on as many cases as its time allows, compared on these.
"""

import json
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.nab import HERE, folder, load

CUTS = (0.6, 0.75, 0.9)  # shares of a series that are known; elsewhere the mean MASE differs a lot
OTHER_CUTS = ((0.5, 0.65, 0.8), (0.6, 0.7, 0.8), (0.7, 0.8, 0.9), (0.5, 0.7, 0.9))
STATSFORECAST = ("DynamicOptimizedTheta", "MSTL")
PROPHET_SECONDS = 60.0  # no new Prophet fit after so long
LEVELS = (0.5, 0.8, 0.95, 0.99)
DISTINCT = (
    0.2  # a day with fewer different values than this share of them: a level that repeats is held whole or not at all
)
SEEDS = (7, 8, 9)  # of the simulated telemetry


def cases(points: pl.DataFrame, cuts: tuple = CUTS) -> list[tuple[pl.DataFrame, np.ndarray, float]]:
    """For each series and cut: what is known, what came on the next day, and the scale of MASE.

    The scale is the mean absolute error of the seasonal naive forecast within what is known (Hyndman and Koehler 2006).
    Series with less than two days before a cut, or that repeat themselves exactly, are left out.
    """
    result = []
    for _, one in points.group_by("series", maintain_order=True):
        step = one["timestamp"].diff().drop_nulls().dt.total_seconds().mode().min()
        day, y = int(86400 // step), one["value"].to_numpy()
        for cut in (int(len(y) * share) for share in cuts):
            came = y[cut : cut + day]
            scale = float(np.abs(y[day:cut] - y[: cut - day]).mean()) if cut > day else 0.0
            if cut >= 2 * day and len(came) == day and scale > 0:
                result.append((one[:cut], came, scale))
    return result


def measure(told: list[tuple], known: list[tuple]) -> dict:
    """Mean and median MASE, and the share of values within the interval; `told` holds mean, lo, hi of each case."""
    mase, held = [], []
    for (mean, lo, hi), (_, came, scale) in zip(told, known, strict=True):
        mase.append(float(np.abs(mean - came).mean()) / scale)
        held.append(float(((came >= lo) & (came <= hi)).mean()))
    return {"mean": float(np.mean(mase)), "median": float(np.median(mase)), "coverage": float(np.mean(held))}


def ours(known: list[tuple], model: str, level: float = 0.95) -> tuple[list[tuple], float]:
    """Forecasts of the cases, and seconds a case."""
    from lift_insights.models.forecast import forecast

    forecast(known[0][0].head(50), 1)  # what loads on first use is not a model's time
    begun, told = time.monotonic(), []
    for one, came, _ in known:
        rows = forecast(one, len(came), model=model, level=level)
        told.append(tuple(rows[c].to_numpy() for c in ("mean", "lo", "hi")))
    return told, (time.monotonic() - begun) / len(known)


def statsforecast(known: list[tuple], model: str) -> tuple[list[tuple], float] | None:
    """A model of statsforecast on the same cases, in the environment of the peers: forecasts, and seconds a case."""
    python = HERE / ".venv-peers" / "bin" / "python"
    if not python.exists():
        return None
    script = Path(__file__).parent / "peers" / "statsforecast_day.py"
    with tempfile.TemporaryDirectory() as tmp:
        given, answer = Path(tmp) / "cases.json", Path(tmp) / "told.json"
        rows = [{"y": one["value"].to_list(), "day": len(came), "h": len(came)} for one, came, _ in known]
        given.write_text(json.dumps(rows))
        done = subprocess.run([str(python), str(script), given, answer, model], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{model} failed in {python}: {done.stderr[-500:]}")
        got = json.loads(answer.read_text())
    return [tuple(np.array(one[c]) for c in ("mean", "lo", "hi")) for one in got["told"]], got["seconds"]


def prophet(known: list[tuple]) -> tuple[list[tuple], list[int], float] | None:
    """Prophet on as many cases as time allows, spread evenly: its forecasts, which cases, seconds a case."""
    try:
        import prophet as _  # noqa: F401
    except ImportError:
        return None
    from lift_insights.models.forecast import forecast

    order = sorted(range(len(known)), key=lambda i: (i * 17) % len(known))
    begun, told = time.monotonic(), []
    for i in order:
        if time.monotonic() - begun > PROPHET_SECONDS:
            break
        rows = forecast(known[i][0], len(known[i][1]), model="prophet")
        told.append(tuple(rows[c].to_numpy() for c in ("mean", "lo", "hi")))
    return told, order[: len(told)], (time.monotonic() - begun) / len(told)


def beside(known: list[tuple], mine: dict, seconds: float, name: str, got: tuple | None, missing: str) -> list[dict]:
    """Rows that compare with one peer on the same cases."""
    if got is None:
        return [row(f"beside {name}: skipped", note=missing)]
    its = measure(got[0], known)
    where = f"{len(known)} cases"
    return [
        row(f"mean MASE, {where}", mine["mean"], its["mean"], name, better="lower"),
        row(f"median MASE, {where}", mine["median"], its["median"], name, better="lower"),
        row(f"coverage of 95 %, {where}", mine["coverage"], its["coverage"], name),
        row(f"time a series, {where}", seconds, got[1], name, unit="s", better="lower"),
    ]


def run() -> list[dict]:
    """Rows for the table of `make bench`."""
    return [*on_nab(), *speed(), *on_simulated(), *on_pods(), *dates()]


def on_nab() -> list[dict]:
    """Quality on the public series, with all peers."""
    root = folder() / "nab"
    if not root.is_dir():
        return [row("skipped", note=f"no data at {root}")]
    points = load(root)
    known = cases(points)
    told, seconds = ours(known, "auto")
    naive, naive_s = ours(known, "seasonal_naive")
    mine, theirs = measure(told, known), measure(naive, known)
    rows = [
        row("mean MASE, auto", mine["mean"], theirs["mean"], "seasonal naive", 1.10, "", "lower"),
        row("median MASE, auto", mine["median"], theirs["median"], "seasonal naive", 0.75, "", "lower"),
        row("coverage of 95 %, auto, at least", mine["coverage"], theirs["coverage"], "seasonal naive", 0.93),
        row(
            "coverage of 95 %, auto, at most", mine["coverage"], theirs["coverage"], "seasonal naive", 0.97, "", "lower"
        ),
        row("time a series, auto", seconds, naive_s, "seasonal naive", unit="s", better="lower"),
    ]
    varied = [i for i, (_, came, _) in enumerate(known) if len(np.unique(came)) >= DISTINCT * len(came)]
    for level in LEVELS:
        told = ours(known, "auto", level)[0]
        held = measure(told, known)["coverage"]
        rows.append(row(f"coverage of {level:.0%} intervals, auto", held, level, "what is promised"))
        held = measure([told[i] for i in varied], [known[i] for i in varied])["coverage"]
        what = f"coverage of {level:.0%} intervals, auto, {len(varied)} days whose values differ"
        rows.append(row(what, held, level, "what is promised"))
    for cuts in OTHER_CUTS:
        those = cases(points, cuts)
        got, base = (measure(ours(those, m)[0], those) for m in ("auto", "seasonal_naive"))
        rows.append(row(f"mean MASE, cut at {cuts}", got["mean"], base["mean"], "seasonal naive", better="lower"))
        rows.append(row(f"coverage of 95 %, cut at {cuts}", got["coverage"], base["coverage"], "seasonal naive"))
    for name in STATSFORECAST:
        rows += beside(known, mine, seconds, name, statsforecast(known, name), "no .venv-peers; make bench makes it")
    other = prophet(known)
    if other is None:
        return [*rows, *beside(known, mine, seconds, "Prophet", None, "prophet is not installed")]
    its, used, its_s = other
    picked = [known[i] for i in used]
    return rows + beside(picked, measure([told[i] for i in used], picked), seconds, "Prophet", (its, its_s), "")


def speed() -> list[dict]:
    """A thousand series of two weeks in five minutes, one day ahead, in one process; of Prophet three, times 333."""
    from lift_insights.models.forecast import forecast

    rng = np.random.default_rng(0)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    times = pl.Series([start + timedelta(minutes=5 * i) for i in range(4032)]).cast(pl.Datetime("us", "UTC"))
    rhythm = np.sin(np.arange(4032) * 2 * np.pi / 288)
    y = [
        rng.poisson(20 + 15 * rhythm) if k % 2 else 50 + 10 * rhythm + np.cumsum(rng.normal(size=4032)) / 9
        for k in range(1000)
    ]
    points = pl.DataFrame(
        {
            "series": np.repeat([f"s{k:03}" for k in range(1000)], 4032),
            "timestamp": pl.concat([times] * 1000),
            "value": np.concatenate(y).astype(float),
        }
    )  # fmt: skip
    begun = time.monotonic()
    forecast(points, 288)
    took = time.monotonic() - begun
    try:
        begun = time.monotonic()
        forecast(points.head(3 * 4032), 288, model="prophet")
        its = (time.monotonic() - begun) / 3 * 1000
    except ValueError:
        its = None
    peer = "Prophet, from 3 series" if its else ""
    return [row("1,000 series × 4,032 points, one day ahead, one core", took, its, peer, 60.0, "s", "lower")]


def on_simulated() -> list[dict]:
    """Coverage on simulated telemetry, its incidents included: five minutes, one day ahead, three days of each seed."""
    from lift_insights import simulate
    from lift_insights.models.forecast import forecast

    held = {level: [] for level in LEVELS}
    for seed in SEEDS:
        made = simulate.platform(14, seed)
        points = five_minutes(made)
        for back in (1, 3, 5):
            end = made.end - timedelta(days=back - 1)
            for level in LEVELS:
                told = forecast(points.filter(pl.col("timestamp") < end - timedelta(days=1)), 288, level=level)
                both = told.join(points.filter(pl.col("timestamp") < end), on=["series", "timestamp"])
                inside = pl.col("value").is_between("lo", "hi").mean()
                held[level] += both.group_by("series").agg(inside=inside)["inside"].to_list()
    share, days = {level: float(np.mean(shares)) for level, shares in held.items()}, len(held[0.95])
    what = f"coverage of 95 %, {days} days of simulated series"
    rows = [
        row(f"{what}, at least", share[0.95], target=0.93),
        row(f"{what}, at most", share[0.95], target=0.97, better="lower"),
    ]
    return rows + [
        row(f"coverage of {level:.0%} intervals, {days} days of simulated series", share[level], level, "promised")
        for level in LEVELS
        if level != 0.95
    ]


def on_pods() -> list[dict]:
    """Coverage after few hours: pod metrics of Nezha by the minute, from 30, 50, 70 and 90 % of each series."""
    from lift_insights.models.forecast import forecast

    file = folder() / "nezha" / "pod_metrics.parquet"
    if not file.exists():
        return [row("pod metrics: skipped", note=f"no data at {file}")]
    points, rows = pods(file), []
    at, size = pl.int_range(pl.len()).over("series"), pl.len().over("series")
    for h in (1, 5, 30):
        held = []
        for share in (0.3, 0.5, 0.7, 0.9):
            told = forecast(points.filter(at < (size * share).cast(pl.Int64)), h)
            both = told.join(points, on=["series", "timestamp"])
            inside = pl.col("value").is_between("lo", "hi").mean()
            held += both.group_by("series").agg(inside=inside)["inside"].to_list()
        rows.append(
            row(f"coverage of 95 %, hours of pod metrics, {h} min ahead", float(np.mean(held)), 0.95, "promised")
        )
    return rows


def pods(file: Path) -> pl.DataFrame:
    """Points of pod metrics by the minute; every fourth series, which is enough."""
    wide = pl.read_parquet(file)
    names = [c for c in wide.columns if c not in ("Time", "TimeStamp", "PodName")]
    long = wide.unpivot(index=["TimeStamp", "PodName"], on=names, variable_name="metric").drop_nulls()
    minute = pl.from_epoch("TimeStamp").dt.truncate("1m").dt.replace_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
    rows = long.group_by(series=pl.col("PodName") + "|" + pl.col("metric"), timestamp=minute).agg(
        pl.col("value").cast(pl.Float64).mean()
    )
    kept = rows["series"].unique().sort().gather_every(4)
    return rows.filter(pl.col("series").is_in(kept.implode())).sort("series", "timestamp")


def five_minutes(made) -> pl.DataFrame:
    """The metrics without dimensions of simulated telemetry: counts as sums, all else as averages."""
    rows = made.metrics.filter(pl.col("dimensions").list.len() == 0).explode("values", "counts")
    total, n = (pl.col("values") * pl.col("counts")).sum(), pl.col("counts").sum()
    rows = rows.group_by("metric", "unit", timestamp=pl.col("timestamp").dt.truncate("5m")).agg(total=total, n=n)
    value = pl.when(pl.col("unit") == "Count").then("total").otherwise(pl.col("total") / pl.col("n"))
    return rows.select(series="metric", timestamp="timestamp", value=value.cast(pl.Float64)).sort("series", "timestamp")


def dates() -> list[dict]:
    """`time_to` on growing series whose next 40 days are known: 80 % intervals, Brier score of the probability."""
    from lift_insights.models.crossing import time_to

    start, rows = datetime(2026, 3, 1, tzinfo=UTC), []
    for kind in ("line", "rhythm", "walk", "bursts"):
        inside, squared, crossed = [], [], []
        for seed in range(60):
            y, threshold = growing(kind, seed)
            known, came = y[: 21 * 24], y[21 * 24 :]
            times = [start + timedelta(hours=i) for i in range(len(known))]
            frame = pl.DataFrame({"series": kind, "timestamp": times, "value": known})
            got = time_to(frame, threshold, days=40, level=0.8, direction="above").row(0, named=True)
            hit = np.flatnonzero(came >= threshold)
            at = 21 * 24 + hit[0] if len(hit) else np.inf
            early, late = (
                (got[k] - start).total_seconds() / 3600 if got[k] is not None else np.inf for k in ("early", "late")
            )
            inside.append(early - 3 <= at <= late + 3)  # hours: a block
            crossed.append(len(hit) > 0)
            squared.append((got["probability"] - crossed[-1]) ** 2)
        base = float(np.var(crossed))
        rows.append(row(f"dates of time_to within 80 % intervals, {kind}", float(np.mean(inside)), target=None))
        what = f"Brier score of time_to's probability, {kind}"
        rows.append(row(what, float(np.mean(squared)), base, "the base rate", better="lower"))
    return rows


def growing(kind: str, seed: int) -> tuple[np.ndarray, float]:
    """61 days by the hour that grow by 0.5 to 3 a day, and a threshold above the level of the 21st."""
    rng = np.random.default_rng(seed)
    hour = np.arange(61 * 24)
    y = 50 + rng.uniform(0.5, 3) * hour / 24 + rng.normal(0, 3, len(hour))
    if kind == "rhythm":
        y += 10 * np.sin(2 * np.pi * hour / 24)
    elif kind == "walk":
        y += np.cumsum(rng.normal(0, 0.8, len(hour)))
    elif kind == "bursts":
        y += rng.exponential(10, len(hour)) * (rng.uniform(size=len(hour)) < 0.03)
    return y, float(np.median(y[20 * 24 : 21 * 24]) + rng.uniform(12, 90))


def row(what, ours=None, peer=None, peer_name="", target=None, unit="", better="higher", note=""):
    """One row of the table."""
    return {
        "benchmark": "forecast", "what": f"{what} ({note})" if note else what, "ours": ours, "peer": peer,
        "peer_name": peer_name, "target": target, "unit": unit, "better": better,
    }  # fmt: skip


if __name__ == "__main__":
    for one in run():
        print(one)
