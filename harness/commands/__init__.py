"""The parts of the command line; `harness.cli` puts them together."""
