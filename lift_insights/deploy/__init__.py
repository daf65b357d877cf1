import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=[
        "account",
        "changes",
        "definition",
        "differences",
        "environments",
        "journal",
        "order",
        "plan",
        "texts",
        "trail",
        "work",
    ],
)
