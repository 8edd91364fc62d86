"""Policy decisions: JSON in, decision out."""
