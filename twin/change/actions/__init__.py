"""One file a kind of action: ACTION says what it is, `compile_action` which writes carry it out."""
