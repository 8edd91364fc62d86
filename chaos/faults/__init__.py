"""One file a kind of fault: FAULT says what it is, `perturb` what holds while it lasts."""
