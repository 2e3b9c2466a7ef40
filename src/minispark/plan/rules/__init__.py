"""Rules: one module per family of operators. Each turns a logical node into a relation."""
