"""statsforecast's models, run in an environment of their own, since it wants an older pandas than the package.

Usage: python statsforecast_day.py CASES.json OUT.json MODEL. A case has y (values without gaps), day
(values a day) and h (steps); the answer has mean, lo, hi (95 %) of each case and the seconds they took.
"""

import json
import sys
import time
import warnings

import numpy as np
from statsforecast.models import MSTL, AutoETS, DynamicOptimizedTheta


def model(name: str, day: int):
    if name == "MSTL":  # non-seasonal ETS on what the seasons leave, its default
        return MSTL(season_length=[day], trend_forecaster=AutoETS(model="ZZN"))
    return DynamicOptimizedTheta(season_length=day)


def main(cases: str, out: str, name: str) -> None:
    warnings.simplefilter("ignore")
    with open(cases) as f:
        known = json.load(f)
    tiny = np.sin(np.arange(100)) + np.arange(100) / 50
    model(name, 24).forecast(y=tiny, h=2, level=[95])  # what compiles on first use is not the model's time
    begun, told = time.monotonic(), []
    for case in known:
        got = model(name, case["day"]).forecast(y=np.array(case["y"]), h=case["h"], level=[95])
        told.append({k: np.asarray(got[v]).tolist() for k, v in (("mean", "mean"), ("lo", "lo-95"), ("hi", "hi-95"))})
    with open(out, "w") as f:
        json.dump({"told": told, "seconds": (time.monotonic() - begun) / max(len(known), 1)}, f)


if __name__ == "__main__":
    main(*sys.argv[1:])
