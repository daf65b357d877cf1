import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, submodules=["branches", "clocks", "compare", "critical", "dependencies", "links", "sampling", "causes_spans", "map", "paths", "span_changes", "tree"])
