"""What goes out: new mails, their recipients and hand-overs, and the addresses never written to."""

__all__: list[str] = []
