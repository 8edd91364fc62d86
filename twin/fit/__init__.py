"""Beliefs about a fleet from its telemetry, and the reproduction of an incident."""
