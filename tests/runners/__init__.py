"""Runners for tests: in this process, with deleted blocks, with every task run twice."""
