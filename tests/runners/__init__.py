"""Runners for tests: in this process, with blocks lost on purpose, with every task run twice."""
