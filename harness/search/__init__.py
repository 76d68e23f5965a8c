"""Searching: a study asks for settings, gives each the seeds that it earns, and remembers all of it."""
