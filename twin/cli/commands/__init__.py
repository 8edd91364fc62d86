"""One module a command; `command` is its click object. Heavy imports are inside the functions."""
