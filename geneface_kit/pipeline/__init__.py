"""Pipeline: stages, settings and commands; it knows every other folder, none knows it."""
