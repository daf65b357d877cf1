__version__ = "0.1.0"

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=[
        "alarms",
        "aws",
        "analysis", "checkup", "cli", "csvs",
        "dashboards",
        "deploy",
        "frames",
        "journeys",
        "models",
        "page",
        "platform",
        "plots",
        "publish",
        "redact",
        "report",
        "sandbox",
        "simulate",
        "sources",
        "times",
    ],
)
