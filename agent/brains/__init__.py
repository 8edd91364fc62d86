"""Brains: each looks at an incident through a View and answers with a Diagnosis. The gate chooses, not they."""
