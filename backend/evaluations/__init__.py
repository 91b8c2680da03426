"""Mails with expected outcomes: a file's examples, what people said of answers, other sets."""

__all__: list[str] = []
