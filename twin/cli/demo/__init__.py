"""`twin demo`: two incidents in a large fleet, from alert to report."""
