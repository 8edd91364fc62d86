"""What each fault does: perturbations of a World, and Chaos Toolkit actions."""
