"""The benchmark: catalogue, oracle, runner, metrics."""
