"""The fleet model: a whole production, or its twin, in one process.

Shapes in docstrings: (S,) services, (O,) operations, (E,) edges, (P,) pools, (K,) stations, (N,) nodes,
(J,) journeys, (R, S) replications by services. Times are integer nanoseconds; rates are per second.
"""
