"""What production would show of itself: metrics, events, alerts."""
