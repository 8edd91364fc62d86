"""Promotion on signed evidence: journal, canary, watch, rollback."""
