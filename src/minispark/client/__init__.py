"""For programs that use a cluster: the HTTP client, and a cluster of one's own to try things on."""

from minispark.client.local_cluster import LocalCluster
from minispark.engines.http import MasterClient

__all__ = ["LocalCluster", "MasterClient"]
