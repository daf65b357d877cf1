import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=[
        "account", "blanks", "changes", "cloudformation", "definition", "differences", "environments", "journal", "order", "plan", "templates", "terraform", "texts", "trail", "work",
    ],
)  # fmt: skip
