"""Readers of the journal: what people see of jobs and of the cluster."""
