"""The twin testbed: every fix is rehearsed on a model of the fleet before production sees it."""
