"""The `twin` command: all wiring, no logic."""
