"""Are traces wanted? Only then is OpenTelemetry's SDK imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailagent.errors import Misconfigured
from mailagent.settings import Settings

if TYPE_CHECKING:
    from backend.traces import Traces

__all__ = ["open_traces"]

_SETTING = "OTEL_EXPORTER_OTLP_ENDPOINT"


def open_traces(settings: Settings) -> Traces | None:
    """Traces to the collector that is set; None without one. Raises Misconfigured."""
    if not settings.otel_exporter_otlp_endpoint:
        return None
    if not settings.otel_exporter_otlp_endpoint.startswith(("http://", "https://")):
        raise Misconfigured(_SETTING, "must begin with http:// or https://")
    try:
        from backend.traces import Traces
    except ImportError as error:
        raise Misconfigured(
            _SETTING, "is set, but the extra is not installed: pip install 'mailagent[otel]'"
        ) from error
    return Traces(settings.otel_exporter_otlp_endpoint)
