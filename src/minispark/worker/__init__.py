"""The worker: gets attempts from the master, runs them in processes, serves their blocks."""

from minispark.worker.settings import WorkerConfig

__all__ = ["WorkerConfig"]
