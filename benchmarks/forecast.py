"""Forecasts one day ahead on the NAB series, from three cut-offs, beside seasonal naive and Prophet."""

import time

import numpy as np
import polars as pl

from benchmarks.nab import folder, load

CUTS = (0.6, 0.75, 0.9)  # shares of a series that are known; elsewhere the mean MASE differs a lot, see `run`
OTHER_CUTS = ((0.5, 0.65, 0.8), (0.6, 0.7, 0.8), (0.7, 0.8, 0.9), (0.5, 0.7, 0.9))
PROPHET_SECONDS = 60.0  # no new Prophet fit after so long


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


def ours(known: list[tuple], model: str) -> tuple[list[tuple], float]:
    """Forecasts of the cases, and seconds a case."""
    from lift_insights.models.forecast import forecast

    forecast(known[0][0].head(50), 1, model="theta")  # what loads on first use is not a model's time
    begun, told = time.monotonic(), []
    for one, came, _ in known:
        rows = forecast(one, len(came), model=model)
        told.append(tuple(rows[c].to_numpy() for c in ("mean", "lo", "hi")))
    return told, (time.monotonic() - begun) / len(known)


def prophet(known: list[tuple]) -> tuple[list[tuple], list[tuple], float] | None:
    """Prophet on as many cases as time allows, spread evenly: its forecasts, those cases, seconds a case."""
    try:
        import prophet as _  # noqa: F401
    except ImportError:
        return None
    from lift_insights.models.forecast import forecast

    order = sorted(range(len(known)), key=lambda i: (i * 17) % len(known))
    begun, told, used = time.monotonic(), [], []
    for i in order:
        if time.monotonic() - begun > PROPHET_SECONDS:
            break
        rows = forecast(known[i][0], len(known[i][1]), model="prophet")
        told.append(tuple(rows[c].to_numpy() for c in ("mean", "lo", "hi")))
        used.append(known[i])
    return told, used, (time.monotonic() - begun) / len(used)


def run() -> list[dict]:
    """Rows for the table of `make bench`. A handful of days decides the mean, so other cut-offs are shown as well."""
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
        row("coverage of 95 %, auto", mine["coverage"], theirs["coverage"], "seasonal naive, conformal", 0.95, "share"),
        row("time a series, auto", seconds, naive_s, "seasonal naive", 0.12, "s", "lower"),
    ]
    for cuts in OTHER_CUTS:
        those = cases(points, cuts)
        got, base = (measure(ours(those, m)[0], those) for m in ("auto", "seasonal_naive"))
        rows.append(row(f"mean MASE, auto, cut at {cuts}", got["mean"], base["mean"], "seasonal naive", better="lower"))
    other = prophet(known)
    if other is None:
        return [*rows, row("beside Prophet: skipped", note="prophet is not installed")]
    its, used, its_s = other
    same = {id(case) for case in used}
    picked = [(t, c) for t, c in zip(told, known, strict=True) if id(c) in same]
    mine, theirs = measure([t for t, _ in picked], [c for _, c in picked]), measure(its, used)
    where = f"on {len(used)} of {len(known)} cases"
    return rows + [
        row(f"mean MASE {where}", mine["mean"], theirs["mean"], "Prophet", None, "", "lower"),
        row(f"median MASE {where}", mine["median"], theirs["median"], "Prophet", None, "", "lower"),
        row(f"coverage of 95 % {where}", mine["coverage"], theirs["coverage"], "Prophet", 0.95, "share"),
        row("time a series", seconds, its_s, "Prophet", None, "s", "lower"),
    ]


def row(what, ours=None, peer=None, peer_name="", target=None, unit="", better="higher", note=""):
    """One row of the table."""
    return {
        "benchmark": "forecast", "what": f"{what} ({note})" if note else what, "ours": ours, "peer": peer,
        "peer_name": peer_name, "target": target, "unit": unit, "better": better,
    }  # fmt: skip


if __name__ == "__main__":
    for one in run():
        print(one)
