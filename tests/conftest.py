"""What all tests share: a loaded machine is no failure, so no generated test is judged by the clock."""

from hypothesis import HealthCheck, settings

settings.register_profile("parkmesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("parkmesh")
