"""What may agents do for whom: lists, policies and limits, as people set them."""

__all__: list[str] = []
