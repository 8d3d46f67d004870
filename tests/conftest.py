"""Shared set-up of the tests."""

from hypothesis import HealthCheck, settings

# A first call compiles kernels, so no example has a deadline.
settings.register_profile("orl", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("orl")
