"""Jobs: validation, planning, storage, results."""
