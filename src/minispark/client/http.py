"""The HTTP client, under the name where users look for it."""

from minispark.engines.http import MasterClient

__all__ = ["MasterClient"]
