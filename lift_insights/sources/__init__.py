import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, submodules=["alarms", "groups", "insights", "lines", "logs", "metrics", "moulds", "queries", "tiling", "traces", "xray"])
