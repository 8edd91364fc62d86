"""Changes: compile to a Plan, apply through a Plant, invert, digest."""
