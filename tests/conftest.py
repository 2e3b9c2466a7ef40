"""Settings of the whole suite."""

from hypothesis import HealthCheck, settings

# Machines are noisy and shared: how long an example takes says nothing about the code.
settings.register_profile(
    "mini-spark",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("mini-spark")
