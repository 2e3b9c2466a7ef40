"""The loop around the scheduler: events in, journal rows, commands to workers."""
