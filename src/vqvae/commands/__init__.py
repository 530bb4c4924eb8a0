"""Use cases, one a file: what each command does, with no flags and no printing."""
