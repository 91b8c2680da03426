"""What came in: inboxes, every delivery with its story, and what a person may do with it."""

__all__: list[str] = []
