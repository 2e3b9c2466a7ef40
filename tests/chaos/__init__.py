"""The chaos suite: jobs with known answers, run on clusters with faults (``make chaos``)."""
