"""The SRE agent: a pure core, drivers around it."""
