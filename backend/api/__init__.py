"""The native API: every feature's router under `/api/v1`, one way of errors, OpenAPI."""

from __future__ import annotations

from backend.api.application import PREFIX, ROUTERS, create_api

__all__ = ["PREFIX", "ROUTERS", "create_api"]
