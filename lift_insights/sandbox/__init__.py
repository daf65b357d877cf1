import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__, submodules=["cloudwatch", "filters", "functions", "insights", "labels", "logs", "search", "select", "server", "statistics", "xray", "xray_filter", "xray_graph", "xray_spans", "xray_traces"], submod_attrs={"server": ["Fault", "local"]}
)
