import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, submodules=["anomaly", "counts", "crossing", "forecast", "forecasters", "health", "novelty", "patterns", "rehearsal", "trend"])
