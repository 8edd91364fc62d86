"""What flows: one program of requests, read by several engines."""
