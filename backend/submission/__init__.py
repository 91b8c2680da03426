"""What stands behind the submission door: who may log in there, and what becomes of a mail."""

__all__: list[str] = []
