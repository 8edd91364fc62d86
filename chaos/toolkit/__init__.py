"""Chaos Toolkit on a World: actions, probes, and a runner that calls Chaos Toolkit itself."""
