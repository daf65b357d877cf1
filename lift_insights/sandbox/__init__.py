import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__, submodules=["alarm_rules", "alarm_states", "alarms", "cloudwatch", "composite_rules", "detectors", "filters", "functions", "insights", "labels", "logs", "mutes", "queries", "search", "select", "server", "statistics", "xray", "xray_filter", "xray_graph", "xray_spans", "xray_traces"], submod_attrs={"server": ["Fault", "local"]}
)
