"""For programs that use a cluster: the HTTP client, and a private cluster on this machine."""

from minispark.client.local_cluster import LocalCluster
from minispark.engines.http import MasterClient

__all__ = ["LocalCluster", "MasterClient"]
