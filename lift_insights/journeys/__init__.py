import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, submodules=["causes_spans", "clocks", "compare", "critical", "gains", "links", "map", "paths", "slack", "span_changes", "tree"])
