"""How is a mail read and built? Pure functions: bytes in, values out; used by module."""

from __future__ import annotations

__all__: list[str] = []
