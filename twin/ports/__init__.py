"""What an agent or an action may touch of a fleet, whatever runs behind it."""
