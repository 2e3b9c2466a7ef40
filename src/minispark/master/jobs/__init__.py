"""Jobs on their way in and out: validation, planning, commit, results."""
