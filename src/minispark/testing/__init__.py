"""The test kit that ships with the package: a simulated cluster, and a real one with faults."""
