"""Real clusters behind the same ports as a World."""
