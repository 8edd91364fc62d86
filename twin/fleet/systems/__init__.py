"""What happens at moments: one system a kind of object, level-triggered, rebuilt from state."""
