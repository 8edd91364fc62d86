"""The gate: stages, verdict, rehearsal."""
