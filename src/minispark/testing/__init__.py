"""The test kit that ships with the package. Nothing imports it."""

from minispark.testing.inline import run_inline

__all__ = ["run_inline"]
