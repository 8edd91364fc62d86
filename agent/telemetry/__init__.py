"""Observability of thought: what the agent saw, recalled, thought, rehearsed and did, as one trace an incident."""
