"""The master: takes jobs, keeps the journal, tells workers what to do."""

from minispark.master.control.service import Service
from minispark.master.http.app import create_app
from minispark.master.server import running, serve
from minispark.master.settings import MasterConfig

__all__ = ["MasterConfig", "Service", "create_app", "running", "serve"]
