"""Signed evidence. Loads beside production's credentials, so it imports no model code."""
