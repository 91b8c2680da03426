"""The real commands as processes, used as a newcomer uses them."""

__all__: list[str] = []
