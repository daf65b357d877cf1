import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=[
        "arguments", "burns", "candidates", "composite", "datapoints", "evidence", "expression", "levels", "machine", "math",
        "mutes", "numbers", "objectives", "paging", "practices", "queries", "recommend", "replay", "review", "rules", "slo",
        "symptoms", "tune", "views",
    ],
)  # fmt: skip
