"""What is kept: tables, transactions bound to one workspace, group commit, migrations."""

__all__: list[str] = []
